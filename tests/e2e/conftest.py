"""What the tests on real parts share: one broker, one store, and three workers with fake engines, for the session."""

import asyncio

import live as support
import pytest


@pytest.fixture(scope="session")
def _servers(tmp_path_factory, missing_server):
    with support.live(tmp_path_factory.mktemp("live"), missing_server) as running:

        async def bring_up():
            # `nobody` is a pool that no worker serves.
            for model in ("fake", "fake-b", "nobody"):
                await running.make_pool(model)
            allowed = {"BACKBURNER_ALLOWED_TENANTS": "default,acme"}
            started = [running.worker(model, **allowed) for model in ("fake", "fake", "fake-b")]
            await running.warm(*started)

        asyncio.run(bring_up())
        yield running


@pytest.fixture
def stack(_servers, monkeypatch):
    """The running servers and workers: two of `fake`, one of `fake-b`. The settings are in the environment."""
    for name, value in _servers.env.items():
        monkeypatch.setenv(name, value)
    return _servers


@pytest.fixture
async def client(stack):
    async with stack.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def until():
    """Waits for a condition, with a bound."""
    return support.until


@pytest.fixture(scope="session")
def lines():
    """Makes requests in the form of a batch file."""
    return support.lines
