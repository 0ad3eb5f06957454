"""Tokens of a real OpenID provider: found by its address alone, through changes of its keys and while it is away."""

import ssl
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx2
import node_package
import openid_provider
import pytest
from clock import Clock
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway import gateway_over
from identity import claims, encoded, rsa, signed
from joserfc import jwk

from backburner.gateway.auth.issuer import Issuer
from backburner.gateway.auth.principal import Scope
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.gateway.auth.settings import AuthSettings
from backburner.gateway.auth.token_authenticator import TokenAuthenticator
from backburner.testing import FakeSystem
from backburner_schemas.errors import IdentityUnavailable


@pytest.fixture(autouse=True)
def _reached_directly(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def start(missing_server):
    """Starts a provider with these keys; all stop at the end."""
    with ExitStack() as stack:

        def start(*keys, **options):
            try:
                private = [key.as_dict(private=True) for key in keys]
                return stack.enter_context(openid_provider.start(private, **options))
            except node_package.NodePackageMissing as error:
                missing_server(str(error))

        yield start


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def make_tokens(clock):
    """An authenticator by settings, as a gateway has it."""
    async with AsyncExitStack() as stack:

        async def make(provider, **settings):
            settings = {"oidc_issuer": provider.issuer, "oidc_audience": "urn:other, urn:backburner", **settings}
            chosen = AuthSettings.model_validate(settings)
            issuer = await stack.enter_async_context(Issuer(chosen.issuer_options, clock=clock))
            return TokenAuthenticator(issuer, chosen.token_policy())

        yield make


async def refusal(tokens, token):
    with pytest.raises(Refused) as caught:
        await tokens.verify(token)
    return caught.value.reason


async def test_a_providers_tokens_are_known_by_its_address_alone(start, make_tokens):
    provider = start(rsa("k1"), jwk.ECKey.generate_key("P-256", {"kid": "e1", "use": "sig"}))
    tokens = await make_tokens(provider)
    found = await tokens.verify(provider.token("batch:read batch:write"))
    assert (found.tenant, found.subject, found.scopes) == ("acme", "nightly", {Scope.READ, Scope.WRITE})
    assert await refusal(tokens, provider.token(resource="urn:somebody-else")) == Reason.BAD_CLAIM
    assert await refusal(tokens, provider.token(resource="urn:backburner:opaque")) == Reason.MALFORMED


async def test_a_provider_changes_its_keys_and_goes_away(start, make_tokens, clock):
    first = start(rsa("k1"))
    tokens = await make_tokens(first)
    old = first.token()
    await tokens.verify(old)
    first.stop()
    second = start(rsa("k2"), port=first.port)
    new = second.token()
    # A new key is looked for at once, and once in half a minute.
    assert await refusal(tokens, new) == Reason.UNKNOWN_SIGNING_KEY
    clock.now += 31
    await tokens.verify(new)
    assert await refusal(tokens, old) == Reason.UNKNOWN_SIGNING_KEY
    second.stop()
    clock.now += 3_500
    await tokens.verify(new)
    clock.now += 200
    with pytest.raises(IdentityUnavailable):
        await tokens.verify(new)
    third = start(rsa("k3"), port=first.port)
    clock.now += 6
    await tokens.verify(third.token())


async def test_a_provider_behind_an_authority_of_its_own_needs_that_named(start, make_tokens, tmp_path, clock):
    key, certificate = self_signed()
    provider = start(rsa("k1"), key=key, cert=certificate)
    file = tmp_path / "ca.pem"
    file.write_text(certificate)
    token = provider.token(verify=ssl.create_default_context(cafile=str(file)))
    with pytest.raises(IdentityUnavailable):
        await (await make_tokens(provider)).verify(token)
    assert (await (await make_tokens(provider, oidc_ca_file=str(file))).verify(token)).tenant == "acme"


def self_signed():
    """A key and a certificate of 127.0.0.1, as PEM."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


async def test_a_whole_gateway_takes_a_providers_tokens(start):
    provider = start(rsa("k1"))
    settings = {"oidc_issuer": provider.issuer, "oidc_audience": "urn:backburner"}
    async with FakeSystem() as system, gateway_over(system, **settings) as gateway:

        async def status(token, method="GET"):
            transport = httpx2.ASGITransport(app=gateway.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                headers = {"authorization": f"Bearer {token}"}
                answer = await client.request(method, "/v1/files/file-x", headers=headers)
            assert token not in answer.text
            return answer.status_code, answer.json()["error"]["code"]

        reader = provider.token("batch:read")
        assert await status(reader) == (404, "file_not_found")
        assert await status(reader, "DELETE") == (403, "permission_denied")
        assert await status(provider.token("batch:write"), "DELETE") == (404, "file_not_found")
        head, payload, signature = reader.split(".")
        for forged in (
            provider.token(resource="urn:somebody-else"),
            f"{encoded({'alg': 'none'})}.{payload}.",
            f"{head}.{encoded(claims())}.{signature}",
            signed(rsa("k1"), claims(iss=provider.issuer)),
        ):
            assert await status(forged) == (401, "invalid_api_key")
