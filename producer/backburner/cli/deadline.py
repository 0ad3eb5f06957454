"""Deadlines and time-outs as people write them: `90s`, `30m`, `1h30m`, `7d`, or a point in time. Pure."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])"
_DURATION = re.compile(rf"(?:{_PART}\s*)+", re.ASCII)
_LONGEST = timedelta(days=3650)

_FORMS = "write a duration such as 30m, 24h or 7d, or a time such as 2027-01-31T18:00:00Z"


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta. Raises a `ValueError` that shows the right form."""
    cleaned = text.strip().lower()
    if not _DURATION.fullmatch(cleaned):
        raise ValueError(f"{text!r} is not a duration; write one such as 30s, 5m or 24h")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, cleaned))
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise ValueError(f"{text!r} must be more than zero and at most {_LONGEST.days} days")
    return timedelta(seconds=seconds)


def parse_deadline(text: str) -> timedelta | datetime:
    """A duration, or an RFC 3339 time as one in UTC. What that is from now, the store's clock tells.

    Raises `ValueError` for anything else, and for a time without its offset.
    """
    cleaned = text.strip()
    if _DURATION.fullmatch(cleaned.lower()):
        return parse_duration(cleaned)
    try:
        moment = datetime.fromisoformat(cleaned.upper())
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a deadline; {_FORMS}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add Z or an offset such as +02:00")
    return in_utc
