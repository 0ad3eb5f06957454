"""What comes out of a batch: records, and stand-ins for what cannot be decoded."""

from dataclasses import dataclass
from typing import TypeAlias

MAX_HEADERS_COUNT = 64
MAX_HEADERS_BYTES = 16 * 1024
"""Of one record. The headers beyond are passed over: what Backburner reads of headers fits many times."""
MAX_RECORDS_COUNT = 100_000
"""Of one batch: ten times what librdkafka puts into one unless told otherwise."""
MAX_KEPT_BYTES = 1024 * 1024
"""Of what could not be decoded, or is larger than a request may be, for its dead letter."""
LATEST_UNIX_MS = 253_402_300_799_999
"""The end of the year 9999: what a calendar holds."""

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


@dataclass(slots=True)  # frozen, it would cost three times as much to create
class Record:
    """One record, with the names that the client library's own has. Never changed.

    Without its key, which nobody needs: a few kilobytes of a compressed batch can hold many of megabytes each.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Unix milliseconds, within what a calendar holds."""
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a record, or for a range of offsets, that cannot be decoded: it ends as one dead letter."""

    topic: str
    partition: int
    offset: int
    until: int
    """The offset to read on from: what is below it ends with this."""
    timestamp: int
    """Unix milliseconds, within what a calendar holds."""
    reason: str
    value: bytes | None = None
    """What is known of it, cut to a bound: the record's value, or raw bytes."""
    damaged: bool = False
    """Whether the bytes are other than those that were sent: reading them again may help."""

    @property
    def headers(self) -> Headers:
        """None: what they say is not to be believed."""
        return ()


def calendar_ms(timestamp: int) -> int:
    """The Unix milliseconds, cut to what a calendar holds: a sender stamps its records with whatever it likes."""
    return min(max(timestamp, 0), LATEST_UNIX_MS)
