"""What the gateway's tests share: an issuer of their own, a clock that stands still, a store in memory."""

import time

import pytest
from clock import Clock
from identity import AUDIENCE, ISSUER, FakeIssuer, rsa

from backburner.gateway.auth.issuer import Issuer, IssuerOptions
from backburner.gateway.auth.token_authenticator import TokenAuthenticator
from backburner.gateway.auth.token_policy import ALGORITHMS, TokenPolicy
from backburner.settings import Settings
from backburner.storage import Storage


@pytest.fixture
def storage():
    return Storage.open(Settings(store_url="memory:///"))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def key():
    """The issuer's key."""
    return rsa("k1")


@pytest.fixture(scope="session")
def other_key():
    """A key that is not the issuer's."""
    return rsa("k2")


@pytest.fixture
def fake_issuer(key):
    return FakeIssuer(key)


@pytest.fixture
async def issuer(fake_issuer, clock):
    options = IssuerOptions(url=ISSUER, fresh_seconds=300, stale_seconds=3600)
    async with Issuer(options, clock=clock, transport=fake_issuer.transport) as opened:
        yield opened


@pytest.fixture
def policy():
    return TokenPolicy(
        ISSUER, [AUDIENCE], tenant_claim="tenant", algorithms=ALGORITHMS, leeway_seconds=60, now=time.time
    )


@pytest.fixture
def tokens(issuer, policy):
    return TokenAuthenticator(issuer, policy)
