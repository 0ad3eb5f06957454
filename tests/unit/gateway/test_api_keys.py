"""API keys: only their hashes are kept, and every gateway refuses a revoked one within ten seconds."""

import asyncio
import hashlib

import pytest
from clock import Clock
from waiting import until

from backburner.gateway.auth.api_key import is_secret
from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import ApiKeyNotFound, StoreError


@pytest.fixture(params=["memory", "file"])
def storage(request, tmp_path):
    return Storage.open(Settings(store_url="memory:///" if request.param == "memory" else f"file://{tmp_path}/store"))


@pytest.fixture
def store(storage):
    return ApiKeyStore(storage, now=lambda: 1_000.0)


class Watched:
    """A store that counts what it is asked, and can be away."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.clock = storage.clock
        self.gets = 0
        self.lists = 0
        self.away = False
        self.gate: asyncio.Event | None = None

    async def get(self, key, **limits):
        self.gets += 1
        await self._answer()
        return await self.storage.get(key, **limits)

    async def scan(self, prefix):
        self.lists += 1
        await self._answer()
        async for one in self.storage.scan(prefix):
            yield one

    async def _answer(self):
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise StoreError


@pytest.fixture
def watched(storage):
    return Watched(storage)


@pytest.fixture
def replica(watched, clock):
    return ApiKeyAuthenticator(watched, clock=clock, now=lambda: 1_000.0, listing_seconds=0.0)


async def refused(replica, secret):
    with pytest.raises(Refused) as caught:
        await replica.verify(secret)
    assert secret not in caught.value.message
    return caught.value.reason


async def test_a_key_names_its_caller(store, replica):
    secret, made = await store.create("acme", "ci", [Scope.READ])
    found = await replica.verify(secret)
    assert (found.tenant, found.subject, found.key_id, found.scopes) == ("acme", made.id, made.id, {Scope.READ})


async def test_only_the_hash_of_a_key_is_stored(store, storage):
    secret, made = await store.create("acme", "ci", [Scope.READ])
    assert is_secret(secret)
    (only,) = [one.key async for one in storage.scan("")]
    assert only == f"keys/{hashlib.sha256(secret.encode()).hexdigest()}.json"
    data = (await storage.get(only)).data.decode()
    assert secret.startswith(made.prefix)
    assert secret[len(made.prefix) + 1 :] not in data
    assert len(secret) - len(made.prefix) >= 36


async def test_a_revoked_key_is_refused_by_every_replica_within_ten_seconds(store, storage):
    secret, made = await store.create("acme", "ci", [Scope.READ])
    clocks = Clock(), Clock()
    replicas = [ApiKeyAuthenticator(storage, clock=clock, now=lambda: 1_000.0) for clock in clocks]
    for replica in replicas:
        await replica.verify(secret)
    await store.revoke(made.id)
    for clock, replica in zip(clocks, replicas, strict=True):
        clock.now += 9.9
        await replica.verify(secret)
        clock.now += 0.1
        with pytest.raises(Refused) as caught:
            await replica.verify(secret)
        assert (caught.value.reason, caught.value.tenant) == (Reason.REVOKED_KEY, "acme")


async def test_the_ten_seconds_count_from_before_the_key_was_read(store, watched, replica, clock):
    secret, made = await store.create("acme", "ci", [Scope.READ])
    await replica.verify(secret)
    clock.now += 10
    watched.gate = asyncio.Event()
    reading = asyncio.create_task(replica.verify(secret))
    await until(lambda: watched.gets == 2)
    clock.now += 4
    watched.gate.set()
    await reading
    await store.revoke(made.id)
    clock.now += 6
    assert await refused(replica, secret) == Reason.REVOKED_KEY


async def test_a_key_is_read_once_in_ten_seconds(store, watched, replica, clock):
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    await asyncio.gather(*(replica.verify(secret) for _ in range(50)))
    clock.now += 9
    await replica.verify(secret)
    assert watched.gets == 1


async def test_a_key_expires_by_itself(store, storage, clock):
    secret, _ = await store.create("acme", "ci", [Scope.READ], lifetime=60)
    now = Clock()
    now.now = 1_059.0
    replica = ApiKeyAuthenticator(storage, clock=clock, now=now)
    await replica.verify(secret)
    now.now = 1_060.0
    assert await refused(replica, secret) == Reason.EXPIRED_KEY


async def test_a_new_key_works_at_once(store, replica):
    assert await refused(replica, "bb-" + "x" * 43) == Reason.UNKNOWN_KEY
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    assert (await replica.verify(secret)).tenant == "acme"


async def test_a_flood_of_junk_does_not_reach_the_store(store, storage):
    watched = Watched(storage)
    replica = ApiKeyAuthenticator(watched, listing_seconds=0.2)
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    await replica.verify(secret)
    lists = watched.lists
    junk = [f"bb-{number:043d}" for number in range(500)]
    late, _ = await store.create("acme", "new", [Scope.READ])
    *answers, found = await asyncio.gather(*(refused(replica, one) for one in junk), replica.verify(late))
    assert set(answers) == {Reason.UNKNOWN_KEY}
    assert found.tenant == "acme"
    # One listing for all of them, and each valid key's own request.
    assert (watched.lists - lists, watched.gets) == (1, 2)
    await asyncio.gather(*(refused(replica, one) for one in junk))
    assert watched.lists - lists == 1


async def test_junk_is_forgotten_in_the_end(replica, watched, monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.api_key_authenticator._MAX_REMEMBERED_ENTRIES", 10)
    for number in range(50):
        await refused(replica, f"bb-{number:043d}")
    assert len(replica._entries) == 10
    assert not replica._reading


async def test_known_keys_go_on_while_the_store_is_away_and_then_nobody_guesses(store, watched, replica, clock):
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    await replica.verify(secret)
    watched.away = True
    clock.now += 9
    await replica.verify(secret)
    clock.now += 1
    for one in (secret, "bb-" + "x" * 43):
        with pytest.raises(StoreError) as caught:
            await replica.verify(one)
        assert caught.value.http_status == 503
    watched.away = False
    await replica.verify(secret)


async def test_a_store_that_hangs_is_not_waited_for(watched, replica, monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.api_key_authenticator._STORE_SECONDS", 0.01)
    watched.gate = asyncio.Event()
    with pytest.raises(StoreError, match="in time"):
        await replica.verify("bb-" + "x" * 43)


async def test_a_listing_that_takes_longer_than_anybody_waits_comes_to_its_end(store, watched, replica, monkeypatch):
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    watched.gate = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr("backburner.gateway.auth.api_key_authenticator._STORE_SECONDS", 0.01)
        for _ in range(3):
            with pytest.raises(StoreError, match="in time"):
                await replica.verify(secret)
    assert watched.lists == 1
    watched.gate.set()
    assert (await replica.verify(secret)).tenant == "acme"
    assert watched.lists == 1


async def test_a_listing_that_is_under_way_ends_with_its_gateway(watched, replica, monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.api_key_authenticator._STORE_SECONDS", 0.01)
    watched.gate = asyncio.Event()
    with pytest.raises(StoreError, match="in time"):
        await replica.verify("bb-" + "x" * 43)
    (listing,) = asyncio.all_tasks() - {asyncio.current_task()}
    await replica.close()
    assert listing.cancelled()


async def test_a_new_key_is_looked_for_in_a_listing_that_is_begun_after_it(
    store, storage, watched, replica, monkeypatch
):
    async def as_it_was(prefix):
        """What there was when the listing began."""
        watched.lists += 1
        found = [one async for one in storage.scan(prefix)]
        await watched._answer()
        for one in found:
            yield one

    monkeypatch.setattr(watched, "scan", as_it_was)
    watched.gate = asyncio.Event()
    junk = asyncio.create_task(refused(replica, "bb-" + "x" * 43))
    await until(lambda: watched.lists)
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    new = [asyncio.create_task(replica.verify(secret)) for _ in range(3)]
    await until(lambda: len(replica._reading) == 2)
    watched.gate.set()
    assert {found.tenant for found in await asyncio.gather(*new)} == {"acme"}
    assert await junk == Reason.UNKNOWN_KEY
    assert watched.lists == 2


async def test_a_caller_that_goes_away_stops_nobody_else(store, watched, replica):
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    watched.gate = asyncio.Event()
    impatient, patient = (asyncio.create_task(replica.verify(secret)) for _ in range(2))
    await until(lambda: watched.lists)
    impatient.cancel()
    await asyncio.wait([impatient])
    watched.gate.set()
    assert (await patient).tenant == "acme"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"tenant":"../x"}', b"\xff"])
async def test_a_broken_record_lets_nobody_in(store, storage, replica, data):
    secret, _ = await store.create("acme", "ci", [Scope.READ])
    await storage.put(keys.api_key(hashlib.sha256(secret.encode()).hexdigest()), data)
    assert await refused(replica, secret) == Reason.UNKNOWN_KEY


@pytest.mark.parametrize("text", ["bb-", "bb-" + "x" * 42, "bb-" + "x" * 44, "bb-" + "/" * 43, "bb-../" + "x" * 40])
async def test_what_is_no_key_is_not_looked_for(watched, replica, text):
    assert await refused(replica, text) == Reason.MALFORMED
    assert (watched.gets, watched.lists) == (0, 0)


async def test_a_scope_of_a_later_version_gives_nothing(store, storage, replica):
    secret, made = await store.create("acme", "ci", [Scope.READ])
    later = made.model_copy(update={"scopes": ("batch:read", "galaxy:write")})
    await storage.put(keys.api_key(hashlib.sha256(secret.encode()).hexdigest()), later.model_dump_json().encode())
    assert (await replica.verify(secret)).scopes == {Scope.READ}


async def test_a_key_is_revoked_once_and_only_by_its_own_tenant(store):
    _, made = await store.create("acme", "ci", [Scope.READ])
    with pytest.raises(ApiKeyNotFound):
        await store.revoke(made.id, "other")
    first = await store.revoke(made.id, "acme")
    assert first.revoked_at == 1_000.0
    assert await store.revoke(made.id) == first
    for unknown in ("key_" + "0" * 20, "key_", "", "../x", "key_" + "g" * 20):
        with pytest.raises(ApiKeyNotFound):
            await store.revoke(unknown)


async def test_a_listing_leaves_out_what_cannot_be_read(store, storage):
    _, made = await store.create("acme", "ci", [Scope.READ])
    _, other = await store.create("other", "ci", [Scope.READ])
    await storage.put(keys.api_key("0" * 64), b"junk")
    assert await store.read("acme") == [made]
    assert {one.id for one in await store.read()} == {made.id, other.id}
