"""What the producer's tests share: a system in memory, and jobs of it that did not end well."""

import pytest
from dead_letters import line

from backburner.job import Job
from backburner.testing import FakeSystem


@pytest.fixture
async def system():
    async with FakeSystem() as running:
        yield running


@pytest.fixture
async def failed(system) -> Job:
    """A job of ten, of which three have left a letter; the engine is mended by now."""
    system.fail(lambda one: one.custom_id in {"r2", "r5", "r9"})
    job = await system.client.submit([line(f"r{number}") for number in range(10)], metadata={"run": "7"})
    assert (await job.wait(timeout=5)).request_counts.failed == 3
    system.mend()
    return job


@pytest.fixture
async def half_sent(system) -> Job:
    """A job whose producer broke off within its 600 requests; none of them is answered."""
    system.hold()

    def items():
        yield from (line(f"r{number}") for number in range(600))
        raise KeyError

    with pytest.raises(KeyError):
        await system.client.submit(items(), job_id="mine")
    return system.client.job("mine")
