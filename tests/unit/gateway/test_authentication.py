"""The Authorization header: what it may carry, and that nothing of it comes out anywhere."""

import io
import logging
import os
import sys

import pytest
import structlog
from identity import signed

from backburner import logs
from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.audit_log import AuditLog
from backburner.gateway.auth.authentication import Authentication, open_authentication
from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason
from backburner.gateway.auth.settings import AuthSettings
from backburner_schemas.errors import PermissionDenied, SettingsError, Unauthenticated

_settings = AuthSettings.model_validate


@pytest.fixture
def audit(storage):
    return AuditLog(storage)


@pytest.fixture
def authentication(storage, tokens, audit):
    return Authentication(ApiKeyAuthenticator(storage), tokens, audit)


@pytest.fixture
async def secret(storage):
    made, _ = await ApiKeyStore(storage).create("acme", "ci", [Scope.READ])
    return made


async def test_a_key_and_a_token_are_told_apart(authentication, secret, key):
    assert (await authentication.authenticate(f"Bearer {secret}")).key_id is not None
    assert (await authentication.authenticate(f"bearer  {signed(key)}")).subject == "alice"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, Reason.MISSING),
        ("", Reason.MALFORMED),
        ("Bearer", Reason.MALFORMED),
        ("Bearer ", Reason.MALFORMED),
        ("Bearer a b", Reason.MALFORMED),
        ("Bearer a\nb", Reason.MALFORMED),
        ("Bearer a,Bearer b", Reason.MALFORMED),
        ("Basic dXNlcjpwYXNz", Reason.MALFORMED),
        ("Bearer sk-0123456789", Reason.MALFORMED),
        ("Bearer é", Reason.MALFORMED),
        ("Bearer " + "a" * 8_193, Reason.MALFORMED),
        ("Bearer " + "a." * 1_000_000, Reason.MALFORMED),
        ("Bearer" + " " * 1_000_000 + "a", Reason.MALFORMED),
        ("Bearer bb-short", Reason.MALFORMED),
        ("Bearer bb-" + "x" * 43, Reason.UNKNOWN_KEY),
        ("Bearer bb-a.b.c", Reason.MALFORMED),
        ("Bearer a.b.c", Reason.MALFORMED),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_what_is_neither_is_refused_and_counted(authentication, audit, header, reason):
    with pytest.raises(Unauthenticated) as caught:
        await authentication.authenticate(header)
    assert (caught.value.http_status, caught.value.code) == (401, "invalid_api_key")
    assert audit.refusals == {reason: 1}


async def test_a_token_where_no_issuer_is_set_is_refused(storage, audit, key):
    with pytest.raises(Unauthenticated, match="use an API key"):
        await Authentication(ApiKeyAuthenticator(storage), None, audit).authenticate(f"Bearer {signed(key)}")
    assert audit.refusals == {Reason.NO_ISSUER: 1}


async def test_a_revoked_key_is_told_to_the_tenants_own_audit_log(storage, authentication, audit):
    store = ApiKeyStore(storage)
    secret, made = await store.create("acme", "ci", [Scope.READ])
    await store.revoke(made.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        await authentication.authenticate(f"Bearer {secret}")
    await audit.flush()
    (object_,) = [one.key async for one in storage.scan("tenants/acme/audit/")]
    assert made.id in (await storage.get(object_)).data.decode()


# --- callers without a name ---


async def opened(storage, audit, host="127.0.0.1", **settings):
    async with open_authentication(_settings(settings), storage, audit, host=host) as authentication:
        return authentication


async def test_nobody_is_let_in_without_a_key_unless_that_is_switched_on(storage, audit):
    with pytest.raises(Unauthenticated):
        await (await opened(storage, audit)).authenticate(None)
    free = await opened(storage, audit, gateway_anonymous_tenant="local")
    for header in (None, "Bearer unused"):
        found = await free.authenticate(header)
        assert (found.tenant, found.allows(Scope.WRITE), found.allows(Scope.ADMIN)) == ("local", True, False)


async def test_a_wrong_key_is_wrong_also_where_none_is_needed(storage, audit, key):
    free = await opened(storage, audit, gateway_anonymous_tenant="local")
    for header in ("Bearer bb-" + "x" * 43, f"Bearer {signed(key)}", "Basic dXNlcjpwYXNz"):
        with pytest.raises(Unauthenticated):
            await free.authenticate(header)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "127.0.0.1.example.com", ""])
async def test_callers_without_a_name_are_let_in_from_this_machine_alone(storage, audit, host):
    with pytest.raises(SettingsError, match="BACKBURNER_GATEWAY_ANONYMOUS_TENANT"):
        await opened(storage, audit, host, gateway_anonymous_tenant="local")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
async def test_loopback_is_this_machine(storage, audit, host):
    await opened(storage, audit, host, gateway_anonymous_tenant="local")


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"oidc_issuer": "https://a.example"}, "BACKBURNER_OIDC_AUDIENCE"),
        ({"oidc_issuer": "https://a.example", "oidc_audience": " , "}, "BACKBURNER_OIDC_AUDIENCE"),
        ({"oidc_algorithms": "RS256,HS256"}, "HS256"),
        ({"oidc_algorithms": "none"}, "none"),
        ({"oidc_algorithms": ""}, "RS256"),
        ({"oidc_leeway_seconds": 301}, "300"),
        ({"oidc_keys_seconds": 600, "oidc_stale_seconds": 300}, "BACKBURNER_OIDC_STALE_SECONDS"),
        ({"gateway_anonymous_tenant": "../x"}, "tenant"),
    ],
)
def test_settings_that_would_let_others_in_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        _settings(settings)


async def test_an_issuer_without_tls_is_refused_at_the_start(storage, audit):
    with pytest.raises(SettingsError, match="BACKBURNER_OIDC_ISSUER"):
        await opened(storage, audit, oidc_issuer="http://a.example", oidc_audience="backburner")


# --- what a caller may do ---


def test_a_scope_is_needed_by_name_or_as_an_admin():
    reader, admin = (Principal("acme", "a", frozenset({scope})) for scope in (Scope.READ, Scope.ADMIN))
    for scope in Scope:
        admin.require(scope)
    reader.require(Scope.READ)
    for scope in (Scope.WRITE, Scope.ADMIN):
        with pytest.raises(PermissionDenied, match=scope.value):
            reader.require(scope)


# --- secrets stay secret ---


async def test_no_key_and_no_token_is_in_the_log_whoever_logs_it(monkeypatch, secret, key):
    token, out = signed(key), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", out)
    try:
        for as_json in (True, False):
            # At this level exceptions are told with what they say.
            logs.configure("debug", json=as_json)
            logs.get_logger("backburner.x").info("called", authorization=f"Bearer {secret}", other=[{"t": token}])
            logging.getLogger("uvicorn").warning("GET /v1/files?key=%s", secret)
            try:
                os.environ[f"{token} and {secret}"]
            except KeyError:
                logging.getLogger("x").exception("it failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    said = out.getvalue()
    assert said.count("called") == 2
    assert said.count(f"{secret[:9]}…") >= 6
    assert secret[9:] not in said
    assert token[10:] not in said
    assert token.split(".")[2] not in said


def test_a_job_is_not_taken_for_a_key():
    for text in ("batch_7zc0mhr3k2d9xw1q5p8v6t4nsb", "eyJhbGciOiJub25lIn0", "bb-dispatcher", "a.b.c"):
        assert logs.masked(text) == text


async def test_errors_of_callers_repeat_nothing_of_what_they_sent(authentication, key, other_key):
    for header in (f"Bearer {signed(other_key)}", "Bearer bb-" + "x" * 43, "Bearer sk-secret", "Basic c2VjcmV0"):
        with pytest.raises(Unauthenticated) as caught:
            await authentication.authenticate(header)
        said = f"{caught.value.message} {caught.value!r} {caught.value.__cause__!r}"
        assert header.partition(" ")[2][3:] not in said
