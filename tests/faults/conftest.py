"""What the tests of faults share: one broker and store, and workers that each test starts, kills and replaces."""

import live as support
import pytest
import refusing_store as refusing


@pytest.fixture(scope="session")
def _servers(tmp_path_factory, missing_server):
    with support.live(tmp_path_factory.mktemp("faults"), missing_server) as running:
        yield running


@pytest.fixture
def stack(_servers, monkeypatch):
    """The running servers. Its settings are in the environment, and its workers end with the test."""
    for name, value in _servers.env.items():
        monkeypatch.setenv(name, value)
    yield _servers
    _servers.stop_workers()


@pytest.fixture
async def client(stack):
    async with stack.client() as connected:
        yield connected


@pytest.fixture
def refusing_store(stack):
    """A store before the real one, which refuses what it is told to."""
    with refusing.RefusingStore(behind=stack.store.endpoint) as running:
        yield running


@pytest.fixture(scope="session")
def until():
    """Waits for a condition, with a bound."""
    return support.until


@pytest.fixture(scope="session")
def lines():
    """Makes requests in the form of a batch file."""
    return support.lines
