"""The store as one tenant has it: no method reaches what is another's, whatever the key looks like."""

import inspect

import pytest

from backburner.settings import Settings
from backburner.storage import Storage
from backburner.storage.errors import ForeignKey
from backburner_schemas import keys

FOREIGN = [
    "tenants/b/jobs/j/job.json",
    "tenants/a",
    "tenants/ab/jobs/j/job.json",
    "tenants/a/../b/jobs/j/job.json",
    "tenants/a/./jobs",
    "tenants/a//jobs",
    "tenants/a/..",
    "tenants/A/jobs/j/job.json",
    "open/b/j",
    "pending/b/j",
    "markers/cancelled/b/j",
    "cache/b/p/d.json",
    "keys/aa.json",
    "pools/p.json",
    "gateway/signing-key",
    "dead/q/1",
    "",
    "/tenants/a/jobs/j",
    "x/tenants/a/jobs/j",
]


@pytest.fixture
def storage():
    return Storage.open(Settings(store_url="memory:///"))


async def _called(method, key):
    """Call it as it wants to be called, to its end."""
    filling = {"data": b"", "length": 1, "etag": None, "start": 0, "end": 1}
    wanted = [name for name, one in inspect.signature(method).parameters.items() if one.default is one.empty]
    result = method(
        *([key] if name == "keys" else key if name in {"key", "prefix"} else filling[name] for name in wanted)
    )
    if inspect.isasyncgen(result):
        return [one async for one in result]
    if hasattr(result, "__aenter__"):
        async with result:
            return None
    return await result


METHODS = [
    name
    for name, one in vars(Storage).items()
    if not name.startswith("_")
    and {"key", "keys", "prefix"} & set(inspect.signature(getattr(Storage, name)).parameters)
]


@pytest.mark.parametrize("name", METHODS)
async def test_no_method_reaches_what_is_not_the_tenants(storage, name):
    await storage.put("tenants/b/jobs/j/job.json", b"secret")
    for key in FOREIGN:
        with pytest.raises(ForeignKey) as caught:
            await _called(getattr(storage.of_tenant("a"), name), key)
        assert not caught.value.retryable
    assert storage.unavailable_reason() is None


def test_there_are_methods_to_try():
    assert {"get", "put", "create", "replace", "delete", "scan", "folders", "stream", "head"} <= set(METHODS)


async def test_what_is_the_tenants_is_reached(storage):
    own = storage.of_tenant("a")
    named = [
        keys.manifest("a", "j"),
        keys.file("a", "file-1"),
        keys.content("a", "file-1"),
        keys.open_job("a", "j"),
        keys.pending("a", "j"),
        keys.cancelled("a", "j"),
        keys.paused("a", "j"),
        keys.batch("a", "j"),
        keys.idempotency("a", "00"),
        keys.answer("a", "j", "../x"),
    ]
    for key in named:
        await own.put(key, key.encode())
        assert (await storage.get(key)).data == key.encode()
        assert (await own.get(key)).data == key.encode()
    assert [one.key async for one in own.scan(keys.files("a"))] == [keys.file("a", "file-1")]
    assert await own.folders(keys.jobs("a")) == ["j"]


async def test_a_listing_does_not_begin_behind_a_foreign_key(storage):
    with pytest.raises(ForeignKey):
        _ = [one async for one in storage.of_tenant("a").scan(keys.files("a"), after="tenants/b/files/x")]


@pytest.mark.parametrize("tenant", ["", "a/b", "..", "a\n", "-a"])
def test_what_names_no_tenant_has_no_storage(storage, tenant):
    with pytest.raises(ValueError, match="cannot name"):
        storage.of_tenant(tenant)


def test_the_whole_store_is_still_whole(storage):
    storage.of_tenant("a")
    assert storage._path("tenants/b/x") == "tenants/b/x"
