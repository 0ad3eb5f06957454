"""An issuer's keys: fetched when they are needed, renewed when they change, bounded whatever is answered."""

import asyncio
import gzip
import json

import httpx2
import pytest
from identity import ISSUER, public, rsa, signed
from waiting import until

from backburner.gateway.auth.issuer import Issuer, IssuerOptions, problem_of
from backburner.gateway.auth.refusal import Reason, Refused
from backburner_schemas.errors import IdentityUnavailable, SettingsError


async def unknown(tokens, token):
    with pytest.raises(Refused) as caught:
        await tokens.verify(token)
    assert caught.value.reason == Reason.UNKNOWN_SIGNING_KEY


async def test_keys_are_fetched_once_for_all_who_wait(tokens, fake_issuer, key):
    await asyncio.gather(*(tokens.verify(signed(key)) for _ in range(20)))
    assert fake_issuer.fetches == 1


async def test_a_new_key_is_taken_up_at_its_first_token(tokens, fake_issuer, key, other_key, clock):
    await tokens.verify(signed(key))
    fake_issuer.listed = public(other_key)
    clock.now += 31
    assert (await tokens.verify(signed(other_key))).tenant == "acme"
    await unknown(tokens, signed(key))


async def test_unknown_keys_cost_the_issuer_no_more_than_a_request_in_half_a_minute(tokens, fake_issuer, key, clock):
    attacker = rsa("x")
    await tokens.verify(signed(key))
    for number in range(50):
        await unknown(tokens, signed(attacker, kid=f"x{number}"))
    assert fake_issuer.fetches == 1
    clock.now += 31
    await asyncio.gather(*(unknown(tokens, signed(attacker, kid=f"y{number}")) for number in range(50)))
    assert fake_issuer.fetches == 2


async def test_old_keys_are_renewed_beside_those_who_ask(tokens, fake_issuer, key, other_key, clock):
    await tokens.verify(signed(key))
    fake_issuer.listed = public(other_key)
    clock.now += 301
    # Nobody waits for it: this one is still known.
    await tokens.verify(signed(key))
    await until(lambda: fake_issuer.fetches == 2)
    await unknown(tokens, signed(key))


async def test_known_keys_go_on_while_the_issuer_is_away_up_to_a_bound(tokens, fake_issuer, key, clock):
    await tokens.verify(signed(key))
    fake_issuer.away()
    for _ in range(6):
        clock.now += 590
        assert (await tokens.verify(signed(key))).tenant == "acme"
    clock.now += 100
    with pytest.raises(IdentityUnavailable) as caught:
        await tokens.verify(signed(key))
    assert caught.value.http_status == 503
    fake_issuer.back()
    clock.now += 6
    assert (await tokens.verify(signed(key))).tenant == "acme"


async def test_an_issuer_that_is_away_is_not_asked_at_each_token(tokens, fake_issuer, key, clock):
    fake_issuer.away()
    for _ in range(20):
        with pytest.raises(IdentityUnavailable):
            await tokens.verify(signed(key))
    assert len(fake_issuer.asked) == 1
    clock.now += 5
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(key))
    assert len(fake_issuer.asked) == 2


async def test_a_new_key_during_an_outage_is_not_called_wrong(tokens, fake_issuer, key, other_key, clock):
    await tokens.verify(signed(key))
    fake_issuer.away()
    clock.now += 31
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(other_key))


async def test_a_caller_that_goes_away_stops_nobody_else(tokens, fake_issuer, key):
    fake_issuer.gate = asyncio.Event()
    impatient, patient = (asyncio.create_task(tokens.verify(signed(key))) for _ in range(2))
    await until(lambda: fake_issuer.fetches)
    impatient.cancel()
    await asyncio.wait([impatient])
    fake_issuer.gate.set()
    assert (await patient).tenant == "acme"
    assert fake_issuer.fetches == 1


async def _pieces(data):
    for begin in range(0, len(data), 65_536):
        yield data[begin : begin + 65_536]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx2.Response(302, headers={"location": f"{ISSUER}/elsewhere"}),
        lambda _: httpx2.Response(500),
        lambda _: httpx2.Response(204),
        lambda _: httpx2.Response(200, text="<html>"),
        lambda _: httpx2.Response(200, json=[]),
        lambda _: httpx2.Response(200, content=b"[" * 100_000),
        lambda _: httpx2.Response(200, content=b"\xff\xfe"),
        lambda right: httpx2.Response(201, content=right),
        lambda right: httpx2.Response(200, content=right + b" " * 256 * 1024),
        lambda right: httpx2.Response(200, content=_pieces(right + b" " * 10_000_000)),
        lambda right: httpx2.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(right)),
    ],
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks"])
async def test_an_answer_that_cannot_be_used_gives_no_keys(tokens, fake_issuer, key, answer, path):
    right = json.dumps({"keys": fake_issuer.listed} if path == "/jwks" else fake_issuer.discovery).encode()
    fake_issuer.instead = lambda request: answer(right) if request.url.path == path else None
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(key))
    assert f"{ISSUER}/elsewhere" not in fake_issuer.asked


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://attacker.test", "jwks_uri": f"{ISSUER}/jwks"},
        {"issuer": f"{ISSUER}/", "jwks_uri": f"{ISSUER}/jwks"},
        {"jwks_uri": f"{ISSUER}/jwks"},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": 5},
        {"issuer": ISSUER, "jwks_uri": "http://issuer.test/jwks"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": "https://user:word@issuer.test/jwks"},
        {"issuer": ISSUER, "jwks_uri": "https://[::1"},
        {"issuer": ISSUER, "jwks_uri": ""},
    ],
    ids=str,
)
async def test_a_discovery_document_that_does_not_fit_gives_no_keys(tokens, fake_issuer, key, document):
    fake_issuer.discovery = document
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(key))
    assert not fake_issuer.fetches


@pytest.mark.parametrize(
    "listed", [[], [{}], [5, None, "k"], [{"kty": "oct", "k": "AAAA", "kid": "k1"}], [{"kty": "RSA", "kid": "k1"}]]
)
async def test_a_key_set_without_a_usable_key_is_as_none(tokens, fake_issuer, key, listed):
    fake_issuer.listed = listed
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(key))


async def test_a_key_set_of_very_many_keys_is_not_read(tokens, fake_issuer, key):
    fake_issuer.listed = public(key) * 101
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(signed(key))


async def test_a_broken_key_does_not_spoil_the_others(tokens, fake_issuer, key):
    broken = [
        {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "k1"},
        {"kty": "RSA", "n": "_" * 200_000, "e": "AQAB", "kid": "k1"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k1"},
        {"kty": "EC", "crv": ["P-256"], "x": "AA", "y": "AA"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "k1"},
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "k1"},
        {"use": ["sig"], "kty": "RSA"},
        {"alg": {"x": 1}, "kty": "RSA"},
    ]
    fake_issuer.listed = [*broken, *public(key)]
    assert (await tokens.verify(signed(key))).tenant == "acme"


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example",
        "http://127.0.0.1.attacker.test",
        "http://localhost.attacker.test",
        "ftp://issuer.example",
        "issuer.example",
        "https://",
        "https://user@issuer.example",
        "https://issuer.example#x",
        "https://issuer.example:port",
        "",
    ],
)
def test_an_issuer_that_is_not_reached_safely_is_refused(url):
    with pytest.raises(SettingsError, match="BACKBURNER_OIDC_ISSUER"):
        Issuer(IssuerOptions(url=url, fresh_seconds=300, stale_seconds=3600))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:1/x", "https://a.example/b"]
)
def test_loopback_needs_no_tls(url):
    assert problem_of(url, allow_http=False) is None


def test_http_from_afar_is_switched_on_by_name():
    assert problem_of("http://issuer.example", allow_http=True) is None
    assert "BACKBURNER_OIDC_ALLOW_HTTP" in problem_of("http://issuer.example", allow_http=False)


def test_an_authority_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing", tmp_path / "empty"):
        (tmp_path / "empty").write_text("nothing")
        with pytest.raises(SettingsError, match="BACKBURNER_OIDC_CA_FILE"):
            Issuer(IssuerOptions(url=ISSUER, fresh_seconds=300, stale_seconds=3600, ca_file=path))
