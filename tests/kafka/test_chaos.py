"""The fault harness on three brokers of Apache Kafka, for a few faults: one broker at a time may be missing."""

import pytest
from chaos_run import BOUND, run_chaos

pytestmark = [pytest.mark.broker, pytest.mark.store]


@pytest.mark.timeout(BOUND + 30)
def test_every_promise_is_kept_while_a_broker_dies_and_a_worker_after_it(tmp_path, missing_server):
    report = run_chaos(
        tmp_path, missing_server, 2005, ["kill broker", "kill worker"], "--broker", "apache", "--brokers", "3"
    )
    (struck,) = [row for row in report["rows"] if row["bound"] is not None]
    # More than the bound would have been a breach.
    assert 0 <= struck["redone"] <= struck["bound"]
