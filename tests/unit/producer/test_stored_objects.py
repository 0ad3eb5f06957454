"""Objects in the store that cannot be read: named by their key, and nobody else's trouble."""

import tracemalloc

import pytest
from pydantic import RootModel

from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.job import Cursor, JobManifest, Summary
from backburner_schemas.result import ResultRecord

LINE = {"custom_id": "r", "url": "/v1/chat/completions", "body": {"model": "fake", "messages": []}}


@pytest.mark.parametrize("key", [keys.manifest, keys.cursor, keys.sealed, keys.summary])
@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff"])
async def test_a_broken_object_of_a_job_is_named(system, key, data):
    job = await system.client.submit([LINE])
    await system.storage.put(key("default", job.id), data)
    with pytest.raises(StoredObjectBroken, match=key("default", job.id)):
        await job.status()


async def test_a_broken_answer_is_named_and_not_waited_for(system):
    handle = await system.client.enqueue("hello")
    await system.storage.put(handle.key, b"{}")
    with pytest.raises(StoredObjectBroken, match=handle.key):
        await handle.result()


@pytest.mark.parametrize("broken", ["mine", "batch_" + "0" * 26])
async def test_a_broken_job_is_left_out_of_the_list_with_a_warning(system, broken, caplog):
    job = await system.client.submit([LINE])
    await system.storage.put(keys.manifest("default", broken), b"{")
    assert [listed.id async for listed in system.client.jobs()] == [job.id]
    assert keys.manifest("default", broken) in caplog.text


async def test_a_broken_pool_is_passed_over_with_a_warning(system, caplog):
    await system.storage.put(keys.pool("broken"), b"{")
    await system.storage.put(keys.worker("fake", "broken"), b"{")
    assert [pool.pool for pool in await system.client.pools()] == ["fake"]
    assert keys.pool("broken") in caplog.text


async def test_a_broken_pool_is_named_to_whoever_registers_it(system):
    await system.storage.put(keys.pool("broken"), b"{")
    with pytest.raises(StoredObjectBroken, match=keys.pool("broken")):
        await system.client.register_pool("broken")


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Summary, b'{"segments":[' + b"0," * 20_000 + b"0]}"),
        (Cursor, b'{"pools":[' + b"0," * 20_000 + b"0]}"),
        (ResultRecord, b'{"backburner":{"failed_at":[' + b"0," * 20_000 + b"0]}}"),
        (JobManifest, b'{"metadata":{' + b",".join(b'"%d":0' % number for number in range(5_000)) + b"}}"),
        (Summary, b'{"other":' + b"[" * 50 + b"[]," * 30_000 + b"[]" + b"]" * 50 + b"}"),
        (Summary, b'{"missing":"' + b"11," * 30_000 + b'11"}'),
    ],
)
def test_what_is_refused_takes_no_many_times_its_bytes(model, data):
    tracemalloc.start()
    with pytest.raises(StoredObjectBroken):
        parse_stored(model, "a/b", data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 80 * len(data)


def test_of_very_many_faults_the_number_is_told():
    class Many(RootModel[dict[str, int]]):
        pass

    with pytest.raises(StoredObjectBroken, match=r"\(101 faults\)"):
        parse_stored(Many, "a/b", b"{" + b",".join(b'"%d":"x"' % number for number in range(101)) + b"}")
