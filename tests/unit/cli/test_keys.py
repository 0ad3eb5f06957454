"""`keys`: a key is shown once, listed by how it begins, and revoked for good."""

import asyncio
import json

import pytest
from terminal import records

from backburner.cli.exit_codes import ExitCode
from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
from backburner.gateway.auth.principal import Scope
from backburner.gateway.auth.refusal import Refused


def verify(terminal, secret):
    return asyncio.run(ApiKeyAuthenticator(terminal.system.storage).verify(secret))


def audited(terminal, tenant):
    async def read():
        storage = terminal.system.storage
        return [json.loads((await storage.get(one.key)).data) async for one in storage.scan(f"tenants/{tenant}/audit/")]

    return asyncio.run(read())


def test_a_key_is_printed_once_and_works(terminal):
    result = terminal("keys", "create", "--name", "ci", "--tenant", "acme")
    secret = result.stdout.strip()
    assert secret not in result.stderr
    found = verify(terminal, secret)
    assert (found.tenant, found.scopes) == ("acme", {Scope.READ, Scope.WRITE})
    listed = terminal("keys", "list", "--all").stdout
    assert secret not in listed
    assert f"{secret[:9]}…" in listed
    assert "active" in listed


def test_a_key_may_do_what_it_was_made_for(terminal):
    made = json.loads(
        terminal("keys", "create", "--name", "x", "--scope", "admin", "--expires", "90d", "--json").stdout
    )
    assert verify(terminal, made["key"]).scopes == {Scope.ADMIN}
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86_400)
    assert "until" in terminal("keys", "list").stdout


def test_a_revoked_key_works_no_more(terminal):
    made = json.loads(terminal("keys", "create", "--name", "x", "--json").stdout)
    assert "within ten seconds" in terminal("keys", "revoke", made["id"]).stderr
    with pytest.raises(Refused, match="revoked"):
        verify(terminal, made["key"])
    (listed,) = records(terminal("keys", "list", "--json").stdout)
    assert listed["revoked_at"]
    assert "revoked" in terminal("keys", "list").stdout
    terminal("keys", "revoke", made["id"])


def test_who_made_and_revoked_a_key_is_in_its_tenants_audit_log(terminal):
    made = json.loads(terminal("keys", "create", "--name", "x", "--tenant", "acme", "--json").stdout)
    terminal("keys", "revoke", made["id"], "--tenant", "acme")
    found = audited(terminal, "acme")
    assert sorted((one["action"], one["target"]) for one in found) == [
        ("key.created", made["id"]),
        ("key.revoked", made["id"]),
    ]
    assert made["key"] not in json.dumps(found)


def test_keys_are_listed_by_tenant(terminal):
    assert "there are no API keys yet" in terminal("keys", "list").stderr
    terminal("keys", "create", "--name", "one", "--tenant", "a")
    terminal("keys", "create", "--name", "two", "--tenant", "b")
    assert [one["name"] for one in records(terminal("keys", "list", "--tenant", "a", "--json").stdout)] == ["one"]
    assert len(records(terminal("keys", "list", "--all", "--json").stdout)) == 2


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--name", ""],
        ["--name", "a\x1b[31m"],
        ["--name", "a" * 65],
        ["--name", "a", "--scope", "everything"],
        ["--name", "a", "--expires", "soon"],
        ["--name", "a", "--expires", "0s"],
        ["--name", "a", "--tenant", "../x"],
    ],
)
def test_a_key_that_cannot_be_is_not_made(terminal, options):
    terminal("keys", "create", *options, code=ExitCode.USAGE)
    assert terminal("keys", "list", "--all").stdout == ""


@pytest.mark.parametrize("key_id", ["key_" + "0" * 20, "../x", "bb-" + "x" * 43])
def test_a_key_that_is_not_there_is_not_found(terminal, key_id):
    result = terminal("keys", "revoke", key_id, code=ExitCode.NOT_FOUND)
    assert "keys list" in result.stderr


def test_another_tenants_key_is_not_found(terminal):
    made = json.loads(terminal("keys", "create", "--name", "x", "--tenant", "acme", "--json").stdout)
    terminal("keys", "revoke", made["id"], "--tenant", "other", code=ExitCode.NOT_FOUND)
    assert verify(terminal, made["key"])
