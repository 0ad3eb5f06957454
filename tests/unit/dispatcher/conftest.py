"""What the dispatcher's tests share: one in this process, with a pool."""

import pytest
from dispatcher_system import System


@pytest.fixture
async def system(tmp_path, monkeypatch):
    made = System(tmp_path)
    async with made.client() as client:
        await client.register_pool("fake")
    return made
