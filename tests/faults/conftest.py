"""What the tests of faults share: one broker and store, and workers that each test starts, kills and replaces."""

import pytest
from live import live
from queues.fixtures import apache, apache_kafka  # noqa: F401 - fixtures are found here by their names
from refusing_store import RefusingStore


@pytest.fixture(scope="session")
def _servers(tmp_path_factory, missing_server):
    with live(tmp_path_factory.mktemp("faults"), missing_server) as running:
        yield running


@pytest.fixture
def stack(_servers, monkeypatch):
    """The running servers. Its settings are in the environment, and its workers end with the test."""
    _servers.enter(monkeypatch)
    yield _servers
    _servers.stop_workers()


@pytest.fixture
async def client(stack):
    async with stack.client() as connected:
        yield connected


@pytest.fixture
def refusing_store(stack):
    """A store before the real one, which refuses what it is told to."""
    with RefusingStore(behind=stack.store.endpoint) as running:
        yield running
