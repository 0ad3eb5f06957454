"""Objects in the store that cannot be read: named by their key, and nobody else's trouble."""

import pytest

from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken

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
