"""A job's own objects: manifest, cursor, seal and summary, as they are stored."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

from backburner_schemas.envelope import Name, UnixSeconds
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import MAX_INDEX, MAX_MODEL_NAME_CHARACTERS, Lane
from backburner_schemas.request import Endpoint, at_most

DEFAULT_DEADLINE_SECONDS = 24 * 3600.0
"""A job's default deadline."""
MAX_GRACE_SECONDS = 24 * 3600.0
"""The longest time that late records may get after a deadline or a cancel."""

MAX_UNROUTED_MODELS = 1000
"""Models without a pool that a job notes; of more, none are."""

_EMPTY = IndexSet()

_MAX_METADATA_PAIRS = 16

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=_MAX_METADATA_PAIRS),
    at_most(_MAX_METADATA_PAIRS),
]
"""OpenAI's limits: 16 pairs of 64 and 512 characters."""


Sha256 = Annotated[str, Field(max_length=64)]
"""Hexadecimal digits, or nothing. Like all that is remembered of jobs, of a length that somebody can count on."""
Count = Annotated[int, Field(ge=0, le=MAX_INDEX + 1)]
"""A number of requests."""
Total = Annotated[int, Field(ge=0, le=10**30)]
"""A sum over a job. Keys of segments have numbers of 18 digits each, and whoever adds them up must be able to."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1


class StoredInput(BaseModel):
    """Where the input of a stored job is: one object of lines, which a dispatcher sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: Annotated[str, Field(max_length=1024)]
    """Key of the object, under the job's own tenant: `keys.is_input_of` tells."""
    bytes: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    """Its size."""
    sha256: Sha256 = ""
    """Rolling hash over its accepted lines, where its maker knew it: the same input has the same one."""
    skipped: Count = 0
    """Lines that its maker left out of it."""


TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""An hour and a minute, such as `22:00`."""
TimeZoneName = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$")]
"""A name as the IANA database has them. Whether it has this one is for whoever makes a job to find out: a machine that
reads one may lack the database."""


class OffPeak(BaseModel):
    """The hours of each day in which a stored job is sent. Where it ends before it begins, it goes over midnight."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    start: TimeOfDay
    """From when on, such as `22:00`."""
    end: TimeOfDay
    """Until when, such as `06:00`."""
    timezone: TimeZoneName = "UTC"
    """Name in the IANA database, such as `Europe/Berlin`."""


class JobManifest(_Stored):
    """What a job is, written once before its first request."""

    id: Name
    tenant: Name
    created_at: UnixSeconds
    deadline: UnixSeconds
    priority: Lane = Lane.NORMAL
    pool: Annotated[str, Field(max_length=MAX_MODEL_NAME_CHARACTERS)] | None = None
    """The pool that got every line, where the producer overrode routing."""
    model: Annotated[str, Field(min_length=1, max_length=MAX_MODEL_NAME_CHARACTERS)] | None = None
    """The model that took the place of the one that each line names, where the producer overrode it."""
    metadata: Metadata = Field(default_factory=dict)
    parent: Annotated[str, Field(max_length=255)] | None = None
    """The job that this one redrives or retries."""
    stored: StoredInput | None = None
    """The input of a job that a dispatcher sends; None where whoever submitted it sends it."""
    window: OffPeak | None = None
    """When a stored job may be sent; None for at any time."""
    endpoint: Endpoint | None = None
    """The endpoint that every line must name; None where lines may differ."""
    max_requests: Annotated[int, Field(ge=1, le=MAX_INDEX)] | None = None
    """How many requests a stored job may have; None for any number."""
    input_file_id: Annotated[str, Field(max_length=255)] | None = None
    """The file that the job was made from, at the gateway."""
    completion_window: Annotated[str, Field(max_length=32)] | None = None
    """How long the job may take, as its creator wrote it: `24h`."""
    output_expires_after: Annotated[int, Field(ge=1, le=MAX_INDEX)] | None = None
    """Seconds for which the gateway offers the results, from the job's end; None for as long as they are stored."""
    created_by: Annotated[str, Field(max_length=255)] | None = None
    """Who made it at the gateway: an API key's id, or a token's subject."""
    grace_seconds: Annotated[float, Field(ge=0, le=MAX_GRACE_SECONDS)] | None = None
    """Seconds that late records get at least after the deadline or a cancel, as its maker's settings say; None in
    manifests of older releases."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of an input: how many accepted lines, and the rolling hash over them."""

    count: Count = 0
    sha256: Sha256 = ""


class WaitReason(StrEnum):
    """Why a stored job is not being sent at the moment."""

    DISPATCHER = "dispatcher"
    """No dispatcher has taken it up yet."""
    VALIDATION = "validation"
    """Its input is being read and checked."""
    PAUSED = "paused"
    """Somebody paused it."""
    OFF_PEAK = "off_peak"
    """Its window is closed."""
    NO_WORKER = "no_worker"
    """Its pool has no live worker."""
    SHARE = "share"
    """It is another tenant's or another job's turn."""
    BACKLOG = "backlog"
    """The pool has enough to do: more would only lie on the queue."""


class Waiting(BaseModel):
    """Why a stored job waits."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: WaitReason
    """The reason by name."""
    detail: Annotated[str, Field(max_length=500)] = ""
    """The same for people, with what would end the wait."""


class Estimate(BaseModel):
    """What a stored job is expected to take, reckoned before it runs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prefix_hit_ratio: Annotated[float, Field(ge=0, le=1)]
    """Share of its requests whose beginning the engine is expected to have in its cache."""
    prompt_tokens: Total
    """Tokens of all prompts, reckoned from their length."""
    completion_tokens: Total = 0
    """Tokens of all answers at the most, as far as the requests bound them."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """At the pool's speed of late; None where it is not known."""


class Cursor(_Stored):
    """How far the producer got: everything before `count` is on the broker.

    Of a stored job the producer is a dispatcher, and `count` are positions of the job's plan.
    """

    count: Count = 0
    sha256: Sha256 = ""
    """Rolling hash over the accepted lines up to `count`."""
    owner: Annotated[str, Field(max_length=255)] = ""
    """Who produces; a new one for each submit."""
    updated_at: UnixSeconds = 0.0
    first: Prefix | None = None
    """The input's first lines, written before any was sent: they distinguish another input from this one."""
    whole: Prefix | None = None
    """The whole input, where it was known before any line was sent: of files."""
    total: Count | None = None
    """Requests of a stored job, known once its input is checked."""
    planned_at: UnixSeconds | None = None
    """Unix seconds at which that was."""
    pools: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=100), FailFast()] = ()
    """Where the requests of a stored job go, one after the other; of very many pools, the first hundred."""
    pool_counts: Annotated[tuple[Count, ...], Field(max_length=100), FailFast()] = ()
    """How many of them go to each of those pools."""
    begun: bool = False
    """Whether any request of a stored job may be on the queue: written before the first one is."""
    waiting: Waiting | None = None
    """Why nothing of a stored job is being sent; None while it is sent."""
    estimate: Estimate | None = None
    """What a stored job is expected to take; None until it is planned."""

    @property
    def next_pool(self) -> str | None:
        """Where the next requests of a stored job go; None where that is not known, or nothing is left."""
        ends = accumulate(self.pool_counts)
        return next((pool for pool, end in zip(self.pools, ends, strict=False) if self.count < end), None)


class Sealed(_Stored):
    """The whole job is on the broker."""

    total: Count
    sha256: Sha256
    """Rolling hash over all accepted lines: the same input has the same one."""
    sealed_at: UnixSeconds
    skipped: Count = 0
    """Lines of the input that were not accepted."""


class Unrouted(_Stored):
    """Models that no pool served when a job was submitted: who reads its input again skips the same lines by it."""

    models: Annotated[
        tuple[Annotated[str, Field(max_length=MAX_MODEL_NAME_CHARACTERS)], ...],
        Field(max_length=MAX_UNROUTED_MODELS),
        FailFast(),
    ] = ()


class Enqueued(_Stored):
    """A single request under an idempotency key, once the broker has it."""

    sha256: Sha256
    """Of the request as it was given: another one under the same key is a mistake."""
    deadline: UnixSeconds


class Claimed(_Stored):
    """Whose an idempotency key is: of the request that came first, sent or not."""

    sha256: Sha256
    """As in `Enqueued`."""


class Retried(_Stored):
    """The retry of a job: another one finds it, instead of running the same requests once more."""

    child: Name
    """Id of the new job."""


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


class InputError(BaseModel):
    """What is wrong with an input that was refused as a whole, in OpenAI's form."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: Annotated[str, Field(max_length=64)]
    """Stable, from the error tree."""
    message: Annotated[str, Field(max_length=1000)]
    """What is wrong, and what to do about it."""
    line: Annotated[int, Field(ge=1)] | None = None
    """The line's number, from 1; None where it is about the whole input."""
    param: Annotated[str, Field(max_length=255)] | None = None
    """The field that it is about, if it is about one."""


class UsageTotals(BaseModel):
    """What a job consumed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt_tokens: Total = 0
    """Tokens of all prompts."""
    completion_tokens: Total = 0
    """Tokens of all answers."""
    engine_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds that the job's requests spent in engines, added up."""


class Summary(_Stored):
    """The frozen end of a job. The first one written wins, and readers read only the segments it lists."""

    state: JobState
    counts: Counts
    segments: Annotated[tuple[str, ...], FailFast()] = ()
    """Last parts of the segments' keys, in key order."""
    superseded: IndexSet = _EMPTY
    """Indexes that have a response and an error: the response counts."""
    missing: IndexSet = _EMPTY
    """Indexes without a record; they count as failed."""
    missing_code: str | None = None
    """`expired`, `cancelled` or `producer_abandoned`."""
    duplicates: Total = 0
    """Records in the segments beyond the first of their index: what a redelivery ran twice."""
    usage: UsageTotals = UsageTotals()
    finalized_at: UnixSeconds
    """Unix seconds."""
    planned_at: UnixSeconds | None = None
    """Unix seconds at which the input of a stored job had passed the check: its cursor need not be read for it."""
    cancelling_at: UnixSeconds | None = None
    """Unix seconds of the cancel, if there was one: its marker does not stay for ever."""
    errors: Annotated[tuple[InputError, ...], Field(max_length=100), FailFast()] = ()
    """Of a `failed` job: what is wrong with its input, the first by line."""
