"""Waiting for a store that is away: what the log says of it meanwhile."""

from types import SimpleNamespace

from backburner_schemas.errors import StoreError
from backburner_worker.settlement.until_stored import _Complaints


def failed(error, *, attempt, seconds):
    """A call that failed once more, as tenacity tells it."""
    outcome = SimpleNamespace(exception=lambda: error)
    return SimpleNamespace(attempt_number=attempt, seconds_since_start=seconds, outcome=outcome)


def test_the_log_says_for_how_long_a_call_has_waited_and_that_it_goes_on(caplog):
    complaints = _Complaints()
    complaints.say("the pool's registration", failed(StoreError("no answer"), attempt=9, seconds=41.6))
    complaints.say("another call", failed(StoreError("no answer"), attempt=3, seconds=2.0))
    (line,) = caplog.messages
    assert "attempt=9 waited_s=42 gives_up='never' error='no answer'" in line
