"""What an installation needs first is made once, whatever breaks off, is repeated or comes late."""

import base64

import pytest
from kubernetes_stand_in import NAMESPACE, ApiServer, service_account

from backburner import bootstrap as made_by
from backburner.bootstrap import Bootstrap
from backburner.gateway.auth.api_key import new_secret
from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner.kubernetes import KubernetesApi
from backburner.pools import PoolDirectory
from backburner.testing import FakeSystem
from backburner_schemas.errors import KubernetesRefused, KubernetesUnavailable, QueueError, StoreError

SECRET = "backburner-admin-key"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("backburner.runtime.retrying._BACKOFF", lambda _: 0.0)


@pytest.fixture
def server():
    return ApiServer()


@pytest.fixture
async def cluster(server, tmp_path):
    async with server.connect(service_account(tmp_path)) as connected:
        yield connected


@pytest.fixture
def system():
    return FakeSystem()


@pytest.fixture
def run(system):
    return Bootstrap(system.settings, system.storage, wait_seconds=300.0)


def held(server):
    return base64.b64decode(server.secrets[SECRET]["data"]["api-key"]).decode()


async def principal(system, secret):
    return await ApiKeyAuthenticator(system.storage).verify(secret)


async def test_the_secret_holds_a_key_that_the_gateway_takes_as_admin_of_the_tenant(run, system, cluster, server):
    stored = await run.store_admin_key(cluster, SECRET)
    caller = await principal(system, held(server))
    assert (caller.tenant, caller.scopes, caller.key_id) == (system.settings.tenant, {Scope.ADMIN}, stored.key.id)
    assert (stored.namespace, stored.is_new) == (NAMESPACE, True)


async def test_a_second_run_makes_nothing(run, system, cluster, server):
    first = await run.store_admin_key(cluster, SECRET)
    before = held(server)
    again = await run.store_admin_key(cluster, SECRET)
    assert (again.key, again.is_new, held(server)) == (first.key, False, before)
    assert len(await ApiKeyStore(system.storage).read()) == 1


async def test_of_two_runs_at_once_one_makes_the_key(run, system, cluster, server):
    others = new_secret()
    winner = {"data": {"api-key": base64.b64encode(others.encode()).decode()}}
    server.before_create = lambda: server.secrets.setdefault(SECRET, winner)
    stored = await run.store_admin_key(cluster, SECRET)
    assert not stored.is_new
    assert [one.id for one in await ApiKeyStore(system.storage).read()] == [stored.key.id]
    assert (await principal(system, others)).key_id == stored.key.id


async def test_a_creation_whose_answer_was_lost_is_found_and_not_repeated(run, system, cluster, server):
    server.answers_lost = 1
    stored = await run.store_admin_key(cluster, SECRET)
    assert (await principal(system, held(server))).key_id == stored.key.id
    assert len(await ApiKeyStore(system.storage).read()) == 1


async def test_a_run_that_broke_off_behind_the_secret_is_completed_by_the_next(
    run, system, cluster, server, monkeypatch
):
    async def fails(*_):
        raise OSError("the node is gone")

    with monkeypatch.context() as patch:
        patch.setattr(system.storage, "create", fails)
        with pytest.raises(OSError, match="node"):
            await run.store_admin_key(cluster, SECRET)
    stored = await run.store_admin_key(cluster, SECRET)
    assert (await principal(system, held(server))).key_id == stored.key.id


async def test_a_revoked_key_stays_revoked(run, system, cluster):
    first = await run.store_admin_key(cluster, SECRET)
    await ApiKeyStore(system.storage).revoke(first.key.id)
    again = await run.store_admin_key(cluster, SECRET)
    assert again.key.revoked_at is not None


@pytest.mark.parametrize("data", [None, {}, {"api-key": "?"}, {"api-key": "c2VjcmV0"}, {"api-key": 7}])
async def test_a_secret_that_holds_something_else_is_left_alone(run, system, cluster, server, data):
    server.secrets[SECRET] = {"data": data, "kind": "Secret"}
    stored = await run.store_admin_key(cluster, SECRET)
    assert stored.key is None
    assert server.secrets[SECRET]["data"] == data
    assert await ApiKeyStore(system.storage).read() == []


async def test_what_does_not_answer_yet_is_waited_for(run, system, cluster, server, monkeypatch):
    refused = iter([QueueError("no broker"), QueueError("no broker")])

    async def ensure(settings, pool):
        for error in refused:
            raise error
        return [f"{pool}.normal"]

    monkeypatch.setattr(made_by, "ensure_topics", ensure)
    prepared = await run.prepare_pool("fake", ["gpt-4o-mini"])
    assert (prepared.manifest.aliases, prepared.topics) == (("gpt-4o-mini",), ("fake.normal",))
    assert await PoolDirectory(system.storage).pool_for("gpt-4o-mini") == "fake"
    server.away = 3
    assert (await run.store_admin_key(cluster, SECRET)).is_new


async def test_waiting_has_an_end_and_tells_what_it_waited_for(system, cluster, server):
    server.away = 1_000
    run = Bootstrap(system.settings, system.storage, wait_seconds=0.0)
    with pytest.raises(KubernetesUnavailable, match="refused"):
        await run.store_admin_key(cluster, SECRET)
    assert server.away == 999


async def test_a_refusal_is_not_waited_for(run, cluster, server):
    server.forbidden = True
    with pytest.raises(KubernetesRefused, match="rights"):
        await run.store_admin_key(cluster, SECRET)


async def test_a_key_that_the_store_did_not_take_is_told(system, cluster, server, monkeypatch):
    async def fails(*_):
        raise StoreError("away")

    monkeypatch.setattr(system.storage, "create", fails)
    with pytest.raises(StoreError):
        await Bootstrap(system.settings, system.storage, wait_seconds=0.0).store_admin_key(cluster, SECRET)


def test_an_account_without_a_namespace_says_what_to_set(tmp_path):
    (tmp_path / "token").write_text("x")
    with pytest.raises(made_by.BackburnerError, match="automountServiceAccountToken"):
        _ = KubernetesApi("http://127.0.0.1:1", account=tmp_path).namespace
