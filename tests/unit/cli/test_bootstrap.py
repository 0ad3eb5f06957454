"""`bootstrap`: pools, aliases and the first key from one command line, and what it refuses before it makes anything."""

import asyncio
import base64
import json

import pytest
from kubernetes_stand_in import NAMESPACE, ApiServer, service_account

from backburner import bootstrap as made_by
from backburner.cli.exit_codes import ExitCode
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.kubernetes import KubernetesApi
from backburner.pools import PoolDirectory

SECRET = "backburner-admin-key"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The cluster's API, with a pod's account that leads to it; topics are made by nobody."""

    async def ensure(settings, pool):
        return [f"backburner.{pool}.normal"]

    monkeypatch.setattr(made_by, "ensure_topics", ensure)
    api, account = ApiServer(), service_account(tmp_path)
    monkeypatch.setattr(KubernetesApi, "in_cluster", lambda _: api.connect(account))
    monkeypatch.setattr("backburner.runtime.retrying._BACKOFF", lambda _: 0.0)
    return api


def pools(terminal):
    return {one.model: one.aliases for one in asyncio.run(PoolDirectory(terminal.system.storage).read())}


def test_the_command_makes_pools_aliases_and_the_key(terminal, server):
    result = terminal(
        *("bootstrap", "--pool", "a", "--pool", "a=b", "--alias", "a=b=c", "--alias", "a=d"),
        *("--admin-key-secret", SECRET),
    )
    assert result.stdout.splitlines()[-1] == f"secret {NAMESPACE}/{SECRET}"
    key = base64.b64decode(server.secrets[SECRET]["data"]["api-key"]).decode()
    assert key not in result.output
    made = pools(terminal)
    assert (made["a"], made["a=b"]) == (("d",), ("c",))
    told = [json.loads(line) for line in terminal("bootstrap", "--pool", "a", "--json").stdout.splitlines()]
    assert [one["aliases"] for one in told] == [["d"]]


def test_the_command_warns_of_a_key_that_is_revoked(terminal, server):
    terminal("bootstrap", "--admin-key-secret", SECRET)
    (key,) = asyncio.run(ApiKeyStore(terminal.system.storage).read())
    asyncio.run(ApiKeyStore(terminal.system.storage).revoke(key.id))
    assert "delete the Secret" in terminal("bootstrap", "--admin-key-secret", SECRET).stderr


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--pool", "bad name\n"],
        ["--pool", "a", "--alias", "b=c"],
        ["--pool", "a", "--alias", "a="],
        ["--pool", "a", "--admin-key-secret", "Not_A_Name"],
        ["--pool", "a", "--wait", "soon"],
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(terminal, server, options):
    terminal("bootstrap", *options, code=ExitCode.USAGE)
    assert "a" not in pools(terminal)
    assert server.secrets == {}


def test_a_cluster_that_does_not_answer_ends_with_its_own_code(terminal, server):
    server.away = 1_000
    terminal("bootstrap", "--admin-key-secret", SECRET, "--wait", "0.001s", code=ExitCode.AWAY)
