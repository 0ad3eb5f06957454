"""How far a watched job is, and how fast: rates computed from its statuses, and their text. Pure."""

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from backburner_schemas.job import JobState
from backburner_schemas.status import BatchStatus

_WINDOW_SECONDS = 60.0
"""Rates are those of the last minute: segments arrive in bursts, and a shorter window would jump."""
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Reading:
    """What to show of a job at one moment."""

    state: JobState
    done: int
    """Requests that have a record, failed ones among them."""
    total: int
    failed: int
    sealed: bool
    """Whether the total is final."""
    tokens_per_second: float | None
    eta_seconds: float | None


class Meter:
    """Turns statuses, one after another, into rates."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def read(self, status: BatchStatus, now: float) -> Reading:
        """The reading for this status at that monotonic time."""
        counts = status.request_counts
        done, tokens = counts.completed + counts.failed, status.usage.output_tokens
        self._seen.append((now, done, tokens))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW_SECONDS:  # noqa: PLR2004 - a rate has two ends
            self._seen.popleft()
        since, done_then, tokens_then = self._seen[0]
        elapsed = now - since
        requests_per_second = (done - done_then) / elapsed if elapsed > 0 else 0.0
        left = max(counts.total - done, 0)
        return Reading(
            state=status.status,
            done=done,
            total=counts.total,
            failed=counts.failed,
            sealed=status.sealed,
            tokens_per_second=(tokens - tokens_then) / elapsed if elapsed > 0 and tokens > tokens_then else None,
            eta_seconds=left / requests_per_second if requests_per_second > 0 and status.sealed and left else None,
        )


def describe(reading: Reading) -> str:
    """A reading in one line."""
    total = f"{reading.total:,}" if reading.sealed else f"{reading.total:,}+"
    parts = [f"{reading.state}: {reading.done:,}/{total} requests", f"{reading.failed:,} failed"]
    if reading.tokens_per_second is not None:
        parts.append(f"{reading.tokens_per_second:,.0f} tokens/s")
    if reading.eta_seconds is not None:
        parts.append(f"{duration(reading.eta_seconds)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`2h05m`, `3m20s` or `45s`."""
    whole = int(timedelta(seconds=seconds).total_seconds() + 0.5)
    if whole >= _HOUR_SECONDS:
        return f"{whole // _HOUR_SECONDS}h{whole % _HOUR_SECONDS // _MINUTE_SECONDS:02d}m"
    if whole >= _MINUTE_SECONDS:
        return f"{whole // _MINUTE_SECONDS}m{whole % _MINUTE_SECONDS:02d}s"
    return f"{whole}s"
