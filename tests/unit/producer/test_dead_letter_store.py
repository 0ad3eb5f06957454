"""Dead letters listed, found stale, and removed."""

import pytest
from dead_letters import TENANT, envelope, letters, line, put_letter

from backburner import JobError, LetterNotFound
from backburner.dead_letters.store import DeadLetterStore
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.segment import Line, encode_segment


async def test_letters_are_listed_in_a_stable_order(system, failed):
    single = await system.client.enqueue("hello", custom_id="fine")
    assert (await single.result(timeout=5)).ok
    found = await letters(system)
    assert [letter.id for letter in found] == [f"{failed.id}/2", f"{failed.id}/5", f"{failed.id}/9"]
    assert found == await letters(system)
    assert [letter.custom_id for letter in await letters(system, job=failed.id)] == ["r2", "r5", "r9"]
    assert await letters(system, job="another") == []
    assert await letters(system, tenant="another") == []
    one = await system.client.dead_letter(f"{failed.id}/5")
    assert one == found[1]
    with pytest.raises(LetterNotFound, match="dlq list"):
        await system.client.dead_letter(f"{failed.id}/3")


async def test_letters_whose_requests_have_a_response_are_stale(system, failed):
    """A crash between two steps of a retry can fork a request: one copy is answered, the other gives up."""
    await put_letter(system, envelope(failed.id, 3, "r3"))
    handle = await system.client.enqueue("hello", custom_id="s")
    await put_letter(system, envelope(handle.job, 0, "s", answer="object"))
    assert len(await letters(system)) == 3
    found = await letters(system, stale=True)
    assert [letter.custom_id for letter in found if letter.stale] == ["r3", "s"]
    assert (await system.client.dead_letter(f"{failed.id}/3")).stale
    done = await system.client.redrive(all=True)
    assert (done.stale, done.jobs[0].requests, done.republished) == (2, 3, 0)
    assert [letter.custom_id for letter in await letters(system, stale=True)] == ["r3", "s"]
    assert (await system.client.redrive(id=f"{failed.id}/3")).stale == 1


async def test_a_letter_of_a_running_job_is_stale_once_its_response_is_stored(system):
    system.hold()
    job = await system.client.submit([line("a"), line("b")])
    await put_letter(system, envelope(job.id, 0, "a"))
    assert len(await letters(system)) == 1
    record = b'{"id":"1","custom_id":"a"}'
    name = keys.SegmentName(keys.new_ulid(), 0, 1, 0, 0, 0, 0)
    await system.storage.put(keys.segment(TENANT, job.id, name), encode_segment([Line(0, record)]))
    assert await letters(system) == []


async def test_unaddressed_letters_belong_to_no_tenant(system):
    key = keys.unaddressed_letter("backburner.fake.normal", "0-5")
    await put_letter(system, envelope("j", 1, "c"), at=key, envelope=None, raw="AAAA")
    assert await letters(system) == []
    (found,) = await letters(system, unaddressed=True)
    assert (found.id, found.tenant, found.raw) == (key, None, b"\0\0\0")
    done = await system.client.redrive(id=key)
    assert (done.kept_total, done.republished) == (1, 0)
    assert await system.client.purge_dead_letters(all=True) == 0
    assert await system.client.purge_dead_letters(unaddressed=True) == 1
    assert await letters(system, unaddressed=True) == []


async def test_purging_removes_what_was_named_and_no_more(system, failed):
    system.fail(["s"])
    await system.client.enqueue("hello", custom_id="s")
    await put_letter(system, envelope(failed.id, 2, "r2", tenant="other"))
    with pytest.raises(LetterNotFound):
        await system.client.purge_dead_letters(id=f"{failed.id}/3")
    assert await system.client.purge_dead_letters(id=f"{failed.id}/2") == 1
    assert await system.client.purge_dead_letters(job=failed.id) == 2
    assert [letter.custom_id for letter in await letters(system)] == ["s"]
    assert await system.client.purge_dead_letters(all=True) == 1
    assert len(await letters(system, tenant="other")) == 1
    for hostile in ("../../x", "a\nb", "x" * 300):
        with pytest.raises(JobError):
            await system.client.purge_dead_letters(job=hostile)


async def test_a_redrive_that_came_to_its_end_is_not_told_where_the_store_keeps_its_empty_folder(tmp_path):
    storage = Storage.open(Settings(store_url=f"file://{tmp_path}/root"))
    plan = keys.redrive_plan(TENANT, "batch_a")
    store = DeadLetterStore(storage, TENANT, max_body_bytes=1000)
    await storage.put(plan, b"{}")
    assert (await store.broken_off(), await store.broken_off("batch_a")) == (["batch_a"], ["batch_a"])
    await storage.delete([plan])
    assert (await store.broken_off(), await store.broken_off("batch_a")) == ([], [])
