"""What the tests of the command line share: a terminal over a system in memory, and logs that are left alone."""

import asyncio
import logging

import pytest
import structlog
from terminal import Terminal

from backburner.testing import FakeSystem


@pytest.fixture(autouse=True)
def _logs_as_before():
    """Every command configures the process's logs; other tests must not see that."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def terminal(tmp_path):
    system = FakeSystem()
    asyncio.run(system._register(system.client))
    return Terminal(system, tmp_path)
