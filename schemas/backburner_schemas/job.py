"""A job's own objects: manifest, cursor, seal and summary, as they are stored."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backburner_schemas.envelope import Name, UnixSeconds
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import MAX_INDEX, Lane

DEFAULT_DEADLINE_SECONDS = 24 * 3600.0
"""A job's default deadline."""

_EMPTY = IndexSet()

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
"""OpenAI's limits: 16 pairs of 64 and 512 characters."""


Count = Annotated[int, Field(ge=0, le=MAX_INDEX + 1)]
"""A number of requests."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1


class JobManifest(_Stored):
    """What a job is, written once before its first request."""

    id: Name
    tenant: Name
    created_at: UnixSeconds
    deadline: UnixSeconds
    priority: Lane = Lane.NORMAL
    pool: str | None = None
    """The pool that got every line, where the producer overrode routing."""
    metadata: Metadata = Field(default_factory=dict)
    parent: str | None = None
    """The job that this one redrives or retries."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of an input: how many accepted lines, and the rolling hash over them."""

    count: Count = 0
    sha256: str = ""


class Cursor(_Stored):
    """How far the producer got: everything before `count` is on the broker."""

    count: Count = 0
    sha256: str = ""
    """Rolling hash over the accepted lines up to `count`."""
    owner: str = ""
    """Who produces; a new one for each submit."""
    updated_at: float = 0.0
    first: Prefix | None = None
    """The input's first lines, written before any was sent: they distinguish another input from this one."""
    whole: Prefix | None = None
    """The whole input, where it was known before any line was sent: of files."""


class Sealed(_Stored):
    """The whole job is on the broker."""

    total: Count
    sha256: str
    """Rolling hash over all accepted lines: the same input has the same one."""
    sealed_at: float
    skipped: Count = 0
    """Lines of the input that were not accepted."""


class JobState(StrEnum):
    """The states of a job, OpenAI's."""

    VALIDATING = "validating"
    """Made, and nothing is on the queue yet."""
    IN_PROGRESS = "in_progress"
    """Requests are on the queue or in an engine."""
    FINALIZING = "finalizing"
    """Every request has a record; the summary is not written yet."""
    COMPLETED = "completed"
    """Frozen; every request has a record, however many failed."""
    FAILED = "failed"
    """The input was refused as a whole."""
    EXPIRED = "expired"
    """Frozen; the deadline cut requests off, or the producer never sealed."""
    CANCELLING = "cancelling"
    """A cancel marker is there and the job is not frozen."""
    CANCELLED = "cancelled"
    """Frozen; a cancel cut requests off."""


class Counts(BaseModel):
    """Requests of a job: OpenAI's three counts."""

    model_config = ConfigDict(frozen=True)

    total: Count = 0
    """Requests of the job, as far as it is sent."""
    completed: Count = 0
    """Requests with a response."""
    failed: Count = 0
    """Requests with an error, and those that a freeze cut off."""


class UsageTotals(BaseModel):
    """What a job consumed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt_tokens: int = 0
    """Tokens of all prompts."""
    completion_tokens: int = 0
    """Tokens of all answers."""
    engine_seconds: float = 0.0
    """Seconds that the job's requests spent in engines, added up."""


class Summary(_Stored):
    """The frozen end of a job. The first one written wins, and readers read only the segments it lists."""

    state: JobState
    counts: Counts
    segments: tuple[str, ...] = ()
    """Last parts of the segments' keys, in key order."""
    superseded: IndexSet = _EMPTY
    """Indexes that have a response and an error: the response counts."""
    missing: IndexSet = _EMPTY
    """Indexes without a record; they count as failed."""
    missing_code: str | None = None
    """`expired`, `cancelled` or `producer_abandoned`."""
    duplicates: Annotated[int, Field(ge=0)] = 0
    """Records in the segments beyond the first of their index: what a redelivery ran twice."""
    usage: UsageTotals = UsageTotals()
    finalized_at: float
    """Unix seconds."""
