"""Tokens that must not be believed: each is a form that some library took."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from identity import AUDIENCE, claims, encoded, public, rsa, signed
from joserfc import jwk, jws

from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.gateway.auth.token_authenticator import TokenAuthenticator
from backburner.gateway.auth.token_policy import TokenPolicy

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


async def refusal(tokens, token):
    """Why the token is refused; nothing else may be raised."""
    with pytest.raises(Refused) as caught:
        await tokens.verify(token)
    assert caught.value.http_status == 401
    assert len(token) < 8 or token not in caught.value.message
    return caught.value.reason


async def test_an_honest_token_names_its_caller(tokens, key):
    found = await tokens.verify(signed(key))
    assert found == Principal("acme", "alice", frozenset({Scope.READ, Scope.WRITE}))


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
async def test_every_algorithm_of_an_rsa_key_is_checked(tokens, key, other_key, algorithm):
    assert (await tokens.verify(signed(key, algorithm=algorithm))).tenant == "acme"
    forged = signed(other_key, algorithm=algorithm, kid="k1")
    assert await refusal(tokens, forged) == Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("algorithm", "made"),
    [
        ("ES256", lambda: jwk.ECKey.generate_key("P-256", {"kid": "e"})),
        ("ES384", lambda: jwk.ECKey.generate_key("P-384", {"kid": "e"})),
        ("ES512", lambda: jwk.ECKey.generate_key("P-521", {"kid": "e"})),
        ("EdDSA", lambda: jwk.OKPKey.generate_key("Ed25519", {"kid": "e"})),
        ("Ed25519", lambda: jwk.OKPKey.generate_key("Ed25519", {"kid": "e"})),
    ],
)
async def test_every_algorithm_of_a_curve_is_checked(tokens, fake_issuer, algorithm, made):
    mine, theirs = made(), made()
    fake_issuer.listed = public(mine)
    assert (await tokens.verify(signed(mine, algorithm=algorithm))).tenant == "acme"
    assert await refusal(tokens, signed(theirs, algorithm=algorithm)) == Reason.BAD_SIGNATURE


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("tail", ["", "AA"])
async def test_a_token_without_a_signature_is_refused(tokens, name, tail):
    token = f"{encoded({'alg': name, 'kid': 'k1'})}.{encoded(claims())}.{tail}"
    assert await refusal(tokens, token) == Reason.FORBIDDEN_ALGORITHM


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_secret_that_signs(tokens, key, algorithm):
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    begin = f"{encoded({'alg': algorithm, 'kid': 'k1'})}.{encoded(claims())}"
    (listed,) = public(key)
    for secret in (key.as_pem(private=False), key.as_der(private=False), json.dumps(listed).encode(), b""):
        token = f"{begin}.{encoded(hmac.new(secret, begin.encode(), digest).digest())}"
        assert await refusal(tokens, token) == Reason.FORBIDDEN_ALGORITHM


@pytest.mark.parametrize("algorithm", ["RS256", "ES256K", "dir", "RSA-OAEP", "A256GCM", 5, None, ["RS256"], {}])
async def test_an_algorithm_that_is_not_on_the_list_is_refused(issuer, key, algorithm):
    narrow = TokenPolicy(
        "https://issuer.test", [AUDIENCE], tenant_claim="tenant", algorithms=["ES256"], leeway_seconds=0, now=time.time
    )
    begin, _, signature = signed(key).rpartition(".")
    token = f"{encoded({'alg': algorithm, 'kid': 'k1'})}.{begin.partition('.')[2]}.{signature}"
    assert await refusal(TokenAuthenticator(issuer, narrow), token) == Reason.FORBIDDEN_ALGORITHM


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"jku": "https://attacker.test/jwks"},
        {"x5u": "https://attacker.test/cert"},
        {"x5c": ["MIIB"]},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"epk": {}},
        {"kid": None},
        {"kid": 1},
        {"kid": ["k1"]},
        {"kid": {"a": 1}},
        {"kid": ""},
        {"kid": "k" * 257},
        {"kid": "k1\u0000"},
        {"kid": "k1\n"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": ["JWT"]},
        {"typ": None},
    ],
    ids=str,
)
async def test_a_header_that_no_honest_token_has_is_refused(tokens, fake_issuer, key, header):
    assert await refusal(tokens, signed(key, **header)) == Reason.FORBIDDEN_HEADER
    assert not fake_issuer.asked


async def test_a_key_that_the_token_brings_is_no_key(tokens, other_key):
    (own,) = public(other_key)
    assert await refusal(tokens, signed(other_key, jwk=own)) == Reason.FORBIDDEN_HEADER


@pytest.mark.parametrize(
    "key_id",
    ["../../etc/passwd", "/dev/null", "k1' OR '1'='1", "https://attacker.test/k1", "k1 ", "K1", "k" * 256, "${jndi:x}"],
)
async def test_a_key_id_is_a_name_and_nothing_else(tokens, fake_issuer, other_key, key_id):
    assert await refusal(tokens, signed(other_key, kid=key_id)) == Reason.UNKNOWN_SIGNING_KEY
    assert {url.partition("?")[0] for url in fake_issuer.asked} <= {
        "https://issuer.test/.well-known/openid-configuration",
        "https://issuer.test/jwks",
    }


async def test_a_name_that_stands_twice_is_refused(tokens, key):
    head = base64.urlsafe_b64encode(b'{"alg":"none","alg":"RS256","kid":"k1"}').decode().rstrip("=")
    _, payload, signature = signed(key).split(".")
    assert await refusal(tokens, f"{head}.{payload}.{signature}") == Reason.MALFORMED


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "eyJhbGciOiJSUzI1NiJ9.e30.AA\n",
        " eyJhbGciOiJSUzI1NiJ9.e30.AA",
        "eyJhbGciOiJSUzI1NiJ9.e30.A=",
        "AAAA.e30.AA",
        f"{encoded([1])}.e30.AA",
        f"{encoded('RS256')}.e30.AA",
        f"{encoded(b'[' * 1500)}.e30.AA",
        encoded(b'{"a":' * 300) + ".e30.AA",
        f"{encoded({'alg': 'RS256', 'pad': 'x' * 3000})}.e30.AA",
        "a" * 9000 + ".b.c",
        encoded({"alg": "RS256", "kid": "k1"}) + "." + "A" * 9000 + ".AA",
        "é.é.é",
        "\ud800.a.a",
    ],
    ids=lambda text: repr(text[:24]),
)
async def test_what_is_no_token_is_refused_before_anything_is_fetched(tokens, fake_issuer, token):
    assert await refusal(tokens, token) == Reason.MALFORMED
    assert not fake_issuer.asked


async def test_an_encrypted_token_is_refused(tokens):
    head = encoded({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "k1"})
    assert await refusal(tokens, f"{head}.AA.AA.AA.AA") == Reason.MALFORMED
    assert await refusal(tokens, f"{head}.AA.AA") == Reason.FORBIDDEN_HEADER


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_changed_token_is_refused(tokens, key, part):
    parts = signed(key).split(".")
    if part == 0:
        parts[0] = encoded({"alg": "RS256", "kid": "k1", "typ": "JWT", "x": 1})
    elif part == 1:
        parts[1] = encoded(claims(tenant="other"))
    else:
        parts[2] = encoded(b"\0" * 256)
    assert await refusal(tokens, ".".join(parts)) == Reason.BAD_SIGNATURE


async def test_a_signature_that_is_missing_or_of_another_size_is_refused(tokens, key):
    begin = signed(key).rpartition(".")[0]
    for signature in ("", "AA", encoded(b"\1" * 700)):
        assert await refusal(tokens, f"{begin}.{signature}") == Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://attacker.test"}, Reason.BAD_CLAIM),
        ({"iss": "https://issuer.test/"}, Reason.BAD_CLAIM),
        ({"iss": ["https://issuer.test"]}, Reason.BAD_CLAIM),
        ({"iss": None}, Reason.BAD_CLAIM),
        ({"aud": "another"}, Reason.BAD_CLAIM),
        ({"aud": ["another", "backburner2"]}, Reason.BAD_CLAIM),
        ({"aud": []}, Reason.BAD_CLAIM),
        ({"aud": ""}, Reason.BAD_CLAIM),
        ({"aud": {"backburner": 1}}, Reason.BAD_CLAIM),
        ({"aud": None}, Reason.BAD_CLAIM),
        ({"exp": None}, Reason.BAD_CLAIM),
        ({"exp": "9999999999"}, Reason.BAD_CLAIM),
        ({"exp": True}, Reason.BAD_CLAIM),
        ({"exp": float("nan")}, Reason.BAD_CLAIM),
        ({"exp": int(time.time()) - 61}, Reason.EXPIRED_TOKEN),
        ({"exp": 0}, Reason.EXPIRED_TOKEN),
        ({"exp": -1e300}, Reason.EXPIRED_TOKEN),
        ({"nbf": int(time.time()) + 86_400}, Reason.BAD_CLAIM),
        ({"nbf": "0"}, Reason.BAD_CLAIM),
        ({"iat": int(time.time()) + 86_400}, Reason.BAD_CLAIM),
        ({"sub": None}, Reason.BAD_CLAIM),
        ({"sub": ""}, Reason.BAD_CLAIM),
        ({"sub": 7}, Reason.BAD_CLAIM),
        ({"sub": "a" * 256}, Reason.BAD_CLAIM),
        ({"sub": "a\nb"}, Reason.BAD_CLAIM),
        ({"sub": "a\u202eb"}, Reason.BAD_CLAIM),
        ({"cnf": {"jkt": "x"}}, Reason.BAD_CLAIM),
        ({"tenant": None}, Reason.NO_TENANT),
        ({"tenant": "a/b"}, Reason.NO_TENANT),
        ({"tenant": ".."}, Reason.NO_TENANT),
        ({"tenant": "a/../b"}, Reason.NO_TENANT),
        ({"tenant": ["acme"]}, Reason.NO_TENANT),
        ({"tenant": "acme\n"}, Reason.NO_TENANT),
        ({"tenant": ""}, Reason.NO_TENANT),
    ],
)
async def test_claims_that_do_not_fit_are_refused(tokens, key, change, reason):
    assert await refusal(tokens, signed(key, claims(**change))) == reason


@pytest.mark.parametrize("payload", [b"[]", b"5", b"null", b"{", b"\xff", b"[" * 3000])
async def test_a_payload_that_is_no_object_is_refused(tokens, key, payload):
    head = encoded({"alg": "RS256", "kid": "k1"})
    begin = f"{head}.{encoded(payload)}"
    token = f"{begin}.{encoded(jws.JWSRegistry.algorithms['RS256'].sign(begin.encode(), key))}"
    assert await refusal(tokens, token) == Reason.BAD_SIGNATURE


async def test_clocks_may_differ_by_the_leeway(tokens, key):
    late = claims(exp=int(time.time()) - 30, nbf=int(time.time()) + 30, iat=int(time.time()) + 30)
    assert (await tokens.verify(signed(key, late))).tenant == "acme"


@pytest.mark.parametrize(
    ("told", "scopes"),
    [
        ({"scope": "batch:read"}, {Scope.READ}),
        ({"scope": "batch:readx admin2 batch: write"}, set()),
        ({"scope": ["batch:read", "admin"]}, {Scope.READ, Scope.ADMIN}),
        ({"scope": None, "scp": ["batch:write"]}, {Scope.WRITE}),
        ({"scope": None, "scp": "batch:write batch:read"}, {Scope.READ, Scope.WRITE}),
        ({"scope": None, "roles": ["admin"]}, {Scope.ADMIN}),
        # What the client was given, and not what its user could do.
        ({"scope": "batch:read", "roles": ["admin"]}, {Scope.READ}),
        ({"scope": None}, set()),
        ({"scope": 5}, set()),
        ({"scope": {"admin": True}}, set()),
        ({"scope": [["admin"], None, 3]}, set()),
    ],
)
async def test_scopes_are_what_the_token_was_given(tokens, key, told, scopes):
    assert (await tokens.verify(signed(key, claims(**told)))).scopes == scopes


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "ES256"},
        {"alg": ["RS256"]},
        {"alg": {"RS256": True}},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {"kid": 5},
    ],
    ids=str,
)
async def test_a_key_for_something_else_signs_nothing(tokens, fake_issuer, key, other_key, change):
    fake_issuer.listed = [*public(key, **change), *public(other_key)]
    assert await refusal(tokens, signed(key)) == Reason.UNKNOWN_SIGNING_KEY
    assert (await tokens.verify(signed(other_key))).tenant == "acme"


async def test_a_weak_key_signs_nothing(tokens, fake_issuer, other_key):
    weak = rsa("weak", 1024)
    fake_issuer.listed = public(weak, other_key)
    assert await refusal(tokens, signed(weak)) == Reason.UNKNOWN_SIGNING_KEY


async def test_a_private_key_that_the_issuer_shows_signs_nothing(tokens, fake_issuer, key, other_key):
    fake_issuer.listed = [key.as_dict(private=True), *public(other_key)]
    assert await refusal(tokens, signed(key)) == Reason.UNKNOWN_SIGNING_KEY


async def test_an_id_of_two_keys_takes_the_one_that_fits_the_algorithm(tokens, fake_issuer, key):
    curve = jwk.ECKey.generate_key("P-256", {"kid": "k1"})
    fake_issuer.listed = public(curve, key)
    assert (await tokens.verify(signed(key))).tenant == "acme"
    assert (await tokens.verify(signed(curve, algorithm="ES256"))).tenant == "acme"


async def test_a_token_without_a_key_id_is_checked_by_the_only_key(tokens, key):
    assert (await tokens.verify(signed(key, kid=...))).tenant == "acme"


async def test_of_several_keys_none_is_guessed(tokens, fake_issuer, key, other_key):
    fake_issuer.listed = public(key, other_key)
    assert await refusal(tokens, signed(key, kid=...)) == Reason.UNKNOWN_SIGNING_KEY
