"""A segment's bytes: JSONL whose first line also carries a digest of the whole, so that a short read is enough.

The digest stands first in the first line: `{"segment":{"v":1,"ok":"0-9,11","failed":"10",…},"id":…}`. Every line
stays a result record that `jq` reads. The indexes of streams, which are strings, are packed as `indexset` does it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError
from pydantic_core import from_json

from backburner_schemas.errors import Cancelled, Expired
from backburner_schemas.indexset import IndexSet, pack_names

DIGEST_BYTES = 16 * 1024
"""Bytes of a segment that usually hold its digest."""

_OPENING = b'{"segment":'
_EMPTY = IndexSet()


class SegmentDigest(BaseModel):
    """Which indexes a segment holds, by what became of them. The sets are disjoint but for redeliveries."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    ok: IndexSet = _EMPTY
    failed: IndexSet = _EMPTY
    """Every index that has an error record, those of the two sets below among them."""
    expired: IndexSet = _EMPTY
    cancelled: IndexSet = _EMPTY
    named: Annotated[tuple[str, ...], FailFast()] = ()
    """String indexes with a response, packed; of more than there is room for, some."""


@dataclass(slots=True)  # not frozen: it would cost three times as much, and each request has one
class Line:
    """One record on its way into a segment: its bytes and what the digest and the name need."""

    index: int | str
    data: bytes
    error_code: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    engine_s: float = 0.0


def digest_of(lines: Sequence[Line]) -> SegmentDigest:
    """The digest of these lines."""

    def indexes(chosen: Iterable[Line]) -> IndexSet:
        return IndexSet.of(line.index for line in chosen if isinstance(line.index, int))

    return SegmentDigest(
        ok=indexes(line for line in lines if line.error_code is None),
        failed=indexes(line for line in lines if line.error_code is not None),
        expired=indexes(line for line in lines if line.error_code == Expired.code),
        cancelled=indexes(line for line in lines if line.error_code == Cancelled.code),
        named=pack_names(line.index for line in lines if line.error_code is None and isinstance(line.index, str)),
    )


def encode_segment(lines: Sequence[Line]) -> bytes:
    """The segment's bytes. Needs at least one line."""
    digest = digest_of(lines)
    text = digest.model_dump_json(exclude=None if digest.named else {"named"}).encode()
    first = _OPENING + text + b"," + lines[0].data[1:]
    return b"\n".join([first, *(line.data for line in lines[1:]), b""])


def read_digest(head: bytes) -> SegmentDigest | None:
    """The digest in the first bytes of a segment; None if they end before it does, or it holds none.

    The digest contains no nested object, so its first closing brace is its end.
    """
    if not head.startswith(_OPENING):
        return None
    end = head.find(b"}", len(_OPENING))
    if end < 0:
        return None
    try:
        return SegmentDigest.model_validate(from_json(head[len(_OPENING) : end + 1]))
    except (ValueError, ValidationError):
        return None
