"""Stored jobs on real parts: from the input in the store to the last record, with a dispatcher between."""

import pytest
from live import lines

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 25


@pytest.fixture(scope="module")
def dispatcher(_servers):
    """One that runs for all tests of this file."""
    return _servers.dispatcher()


async def test_a_stored_job_is_sent_in_an_order_of_its_own_and_read_as_any_other(stack, client, dispatcher):
    requests = lines(3_000)
    job = await client.submit(requests, stored=True)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed, status.sealed) == ("completed", 3_000, True)
    joined = {record.custom_id: record async for record in job.results(join=requests)}
    assert {record.request.custom_id for record in joined.values()} == joined.keys() == {f"r{n}" for n in range(3_000)}
    assert (await job.reconcile()).agrees
