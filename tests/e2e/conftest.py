"""What the tests on real parts share within a file: one broker, one store, and three workers with fake engines.

They end with the file: workers that have nothing to do keep broker and store at asking each other.
"""

import asyncio

import openai_environment
import pytest
from live import live


@pytest.fixture(scope="module")
def _servers(tmp_path_factory, missing_server):
    with live(tmp_path_factory.mktemp("live"), missing_server) as running:

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
    _servers.enter(monkeypatch)
    return _servers


@pytest.fixture
async def client(stack):
    async with stack.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def openai_python(missing_server):
    """The Python of an environment that holds the stock `openai` package."""
    try:
        return openai_environment.ensure()
    except openai_environment.InstallationFailed as error:
        missing_server(str(error))
