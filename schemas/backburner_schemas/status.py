"""Decisions about a job, made from what is stored. Pure: it neither reads nor waits.

`derive` returns what a job is doing now, `decide_freeze` whether it has ended, and how.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backburner_schemas.errors import Cancelled, Expired, ProducerAbandoned
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import (
    Counts,
    Cursor,
    Estimate,
    InputError,
    JobManifest,
    JobState,
    Sealed,
    Summary,
    UsageTotals,
    Waiting,
    WaitReason,
)
from backburner_schemas.keys import SegmentName
from backburner_schemas.segment_tally import SegmentTally

ABANDONED_AFTER_SECONDS = 3600.0
"""Seconds without a change of the cursor, by the observer's own monotonic clock, after which nobody produces."""
MAX_UNCONFIRMED_REQUESTS = 200_000
"""Requests that a producer may have sent beyond its cursor: several times what it sends between two writes of it."""


@dataclass(frozen=True, slots=True)
class JobView:
    """What is stored of a job at one moment. `segments` are last parts of keys, in key order."""

    manifest: JobManifest
    cursor: Cursor | None = None
    sealed: Sealed | None = None
    cancelled_at: float | None = None
    """Unix seconds of the cancel marker, by the store's clock; None if there is none."""
    segments: tuple[str, ...] = ()
    summary: Summary | None = None

    @property
    def total(self) -> int:
        """Requests that are known to belong to the job."""
        if self.sealed is not None:
            return self.sealed.total
        if self.cursor is None:
            return 0
        return self.cursor.count if self.cursor.total is None else self.cursor.total

    @property
    def most(self) -> int:
        """Requests that may belong to the job. Indexes from there on are strays."""
        settled = self.sealed is not None or (self.cursor is not None and self.cursor.total is not None)
        return self.total if settled else self.total + MAX_UNCONFIRMED_REQUESTS

    def total_with(self, recorded: IndexSet) -> int:
        """Requests that belong to the job, given the indexes that have records.

        Before the seal the cursor trails what was sent, so the records may show more. An index too far beyond the
        cursor to have been sent is a stray, and does not count.
        """
        return max(self.total, (recorded & IndexSet.below(self.most)).stop)

    def estimated(self) -> tuple[Counts, UsageTotals]:
        """Counts and usage from the segments' names alone; a redelivery can count one request twice."""
        names = [name for key in self.segments if (name := SegmentName.parse(key)) is not None]
        ok = min(sum(name.ok for name in names), self.total)
        failed = min(sum(name.failed for name in names), self.total - ok)
        usage = UsageTotals(
            prompt_tokens=sum(name.prompt_tokens for name in names),
            completion_tokens=sum(name.completion_tokens for name in names),
            engine_seconds=sum(name.engine_ms for name in names) / 1000,
        )
        return Counts(total=self.total, completed=ok, failed=failed), usage

    def may_be_whole(self) -> bool:
        """Whether the names alone allow every request to have its record. They can overstate, never understate."""
        counts, _ = self.estimated()
        return self.sealed is not None and counts.completed + counts.failed >= self.total


class InputTokensDetails(BaseModel):
    """OpenAI's details of `input_tokens`."""

    model_config = ConfigDict(frozen=True)

    cached_tokens: int = 0
    """Tokens that the engine had in its cache; 0 where it did not count them."""


class OutputTokensDetails(BaseModel):
    """OpenAI's details of `output_tokens`."""

    model_config = ConfigDict(frozen=True)

    reasoning_tokens: int = 0
    """Tokens of reasoning; 0 where the engine did not count them apart."""


class Usage(BaseModel):
    """What a job consumed, in OpenAI's form, with `engine_seconds` beside it."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int = 0
    """Tokens of all prompts."""
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    """What is known of them."""
    output_tokens: int = 0
    """Tokens of all answers."""
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    """What is known of them."""
    total_tokens: int = 0
    """Both together."""
    engine_seconds: float = 0.0
    """Seconds that the job's requests spent in engines, added up."""

    @classmethod
    def of(cls, totals: UsageTotals) -> "Usage":
        """The same totals in this form."""
        return cls(
            input_tokens=totals.prompt_tokens,
            output_tokens=totals.completion_tokens,
            total_tokens=totals.prompt_tokens + totals.completion_tokens,
            engine_seconds=totals.engine_seconds,
        )


class InputErrors(BaseModel):
    """OpenAI's list of what is wrong with an input."""

    model_config = ConfigDict(frozen=True)

    object: str = "list"
    """Always `list`."""
    data: tuple[InputError, ...] = ()
    """The first by line."""


class BatchStatus(BaseModel):
    """A job's status as OpenAI's batch object; what OpenAI does not have comes last, from `tenant` on."""

    model_config = ConfigDict(frozen=True)

    id: str
    """The job's id."""
    object: str = "batch"
    """Always `batch`."""
    endpoint: str = ""
    """The endpoint that every request names; empty where they may differ."""
    input_file_id: str = ""
    """The gateway's file that the job was made from; empty where it was submitted otherwise."""
    completion_window: str = "24h"
    """How long the job may take, in OpenAI's form, such as `24h`, `90m` or `45s`."""
    status: JobState
    """What the job is doing, or how it ended."""
    request_counts: Counts
    """How many requests it has, and what became of them; an estimate until it is frozen."""
    created_at: int
    """Unix seconds of its submit."""
    expires_at: int
    """Unix seconds of its deadline."""
    in_progress_at: int | None = None
    """Unix seconds at which the input of a stored job had passed the check; None before, and for other jobs."""
    finalizing_at: int | None = None
    """Unix seconds at which every request was seen to have its record; None before, and for a job that was cut off."""
    completed_at: int | None = None
    """Unix seconds at which it was frozen as completed; None if it was not."""
    failed_at: int | None = None
    """The same of a job whose input was refused as a whole."""
    cancelling_at: int | None = None
    """Unix seconds of the cancel; None if nobody cancelled it."""
    cancelled_at: int | None = None
    """Unix seconds at which it was frozen as cancelled; None if it was not."""
    expired_at: int | None = None
    """The same of a job that expired."""
    errors: InputErrors | None = None
    """What is wrong with the input of a job that failed."""
    model: str | None = None
    """The model that all its requests were given by `--model`; None where each names its own."""
    output_file_id: str | None = None
    """The gateway's file of responses."""
    error_file_id: str | None = None
    """The gateway's file of errors."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """What its submit gave."""
    usage: Usage = Usage()
    """Tokens and engine seconds so far."""
    tenant: str
    """The job's tenant."""
    parent: str | None = None
    """The job whose requests it redrives or retries; None for others."""
    sealed: bool
    """Whether `request_counts.total` is final."""
    waiting: Waiting | None = None
    """Why a stored job is not being sent; None while it is, and for other jobs."""
    estimate: Estimate | None = None
    """What a stored job is expected to take; None until it is planned, and for other jobs."""

    def __str__(self) -> str:
        """The job's id, what it is doing and how far it is: `batch_1 in_progress: 23 of 64 answered, 1 failed`."""
        counts = self.request_counts
        total = f"{counts.total:,}" if self.sealed else f"{counts.total:,}+"
        return f"{self.id} {self.status}: {counts.completed:,} of {total} answered, {counts.failed:,} failed"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001 - as IPython calls it
        """What IPython, and so a notebook, shows: a line; `model_dump()` has all of it."""
        printer.text(str(self))

    @property
    def frozen(self) -> bool:
        """Whether nothing about the job changes any more."""
        return self.status in _FROZEN


_FROZEN = frozenset({JobState.COMPLETED, JobState.EXPIRED, JobState.CANCELLED, JobState.FAILED})

_NOT_TAKEN_UP = Waiting(
    reason=WaitReason.DISPATCHER, detail="no dispatcher has the job at the moment; see that one is running"
)


def derive(view: JobView) -> BatchStatus:
    """What the job is doing: the summary if there is one, else an estimate from names and markers."""
    counts, usage = view.estimated()
    ended: Mapping[str, int] = {}
    if view.summary is not None:
        state, counts, usage = view.summary.state, view.summary.counts, view.summary.usage
        ended = {f"{state}_at": int(view.summary.finalized_at)}
    elif view.cancelled_at is not None:
        state = JobState.CANCELLING
    elif view.may_be_whole():
        state = JobState.FINALIZING
    elif view.total == 0:
        state = JobState.VALIDATING
    else:
        state = JobState.IN_PROGRESS
    manifest, cursor, summary = view.manifest, view.cursor, view.summary
    errors = summary.errors if summary is not None else ()
    planned_at = summary.planned_at if summary is not None else cursor.planned_at if cursor is not None else None
    cancelling_at = summary.cancelling_at if summary is not None else view.cancelled_at
    return BatchStatus(
        id=manifest.id,
        endpoint=manifest.endpoint or "",
        input_file_id=manifest.input_file_id or "",
        completion_window=manifest.completion_window or _window(manifest.deadline - manifest.created_at),
        status=state,
        request_counts=counts,
        created_at=int(manifest.created_at),
        expires_at=int(manifest.deadline),
        in_progress_at=_whole(planned_at),
        finalizing_at=ended.get("completed_at"),
        completed_at=ended.get("completed_at"),
        failed_at=ended.get("failed_at"),
        cancelling_at=_whole(cancelling_at),
        cancelled_at=ended.get("cancelled_at"),
        expired_at=ended.get("expired_at"),
        errors=InputErrors(data=errors) if errors else None,
        model=manifest.model,
        metadata=manifest.metadata,
        usage=Usage.of(usage),
        tenant=manifest.tenant,
        parent=manifest.parent,
        sealed=view.sealed is not None or view.summary is not None,
        waiting=_waiting(view),
        estimate=cursor.estimate if cursor is not None else None,
    )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _waiting(view: JobView) -> Waiting | None:
    """Why a stored job waits, as its dispatcher says, or for one."""
    if view.manifest.stored is None or view.summary is not None or view.sealed is not None:
        return None
    if view.cursor is None:
        return _NOT_TAKEN_UP
    return view.cursor.waiting or (None if view.cursor.owner else _NOT_TAKEN_UP)


def _window(seconds: float) -> str:
    """A duration in OpenAI's form, in the largest unit that tells it to the second."""
    whole = max(round(seconds), 1)
    for unit, length in (("h", 3600), ("m", 60)):
        if whole % length == 0:
            return f"{whole // length}{unit}"
    return f"{whole}s"


# --- the end ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clock:
    """The times that a freeze is judged by.

    A grace has to have passed by the store's clock and by the observer's own monotonic one, so that neither a wrong
    clock nor a jump of one ends a job early.
    """

    now: float
    """Unix seconds by the store's clock."""
    grace: float
    """Seconds that late segments get after a deadline or a cancel."""
    cursor_unchanged: float = 0.0
    """Seconds for which the cursor has not moved, by this observer's own monotonic clock."""
    cancelled_for: float = 0.0
    """Seconds for which this observer has seen the cancel marker, by the same clock."""
    overdue_for: float = 0.0
    """Seconds for which it has seen that the deadline was over."""
    trusted: bool = True
    """Whether `now` can be relied on. Where it cannot, no deadline and no grace is over."""


def must_read_digests(view: JobView, clock: Clock) -> bool:
    """Whether the job may have ended, so that reading its segments' digests is worth it."""
    return view.summary is None and (view.may_be_whole() or _cut_off(view, clock) is not None)


def decide_freeze(view: JobView, tally: SegmentTally, clock: Clock) -> Summary | None:
    """The job's summary if it has ended, else None. `tally` is what `view.segments` hold, with `view.most` as `below`.

    It has ended when it is sealed and each index has a record, or when something cut it off: its deadline or a
    cancel and the grace after it, or a producer that left. The state comes from the records that count: one
    missing or `cancelled` under a cancel marker makes it cancelled, one missing or `expired` makes it expired,
    and otherwise it is completed, however many failed.
    """
    if view.summary is not None:
        return None
    ok, errors = tally.ok, tally.failed
    recorded = ok | errors
    total = view.total_with(recorded)
    missing = IndexSet.below(total) - recorded
    whole = view.sealed is not None and not missing
    reason = _cut_off(view, clock)
    if not whole and reason is None:
        return None
    failed = errors - ok
    expired, cancelled = tally.expired - ok, tally.cancelled - ok
    unsealed = view.sealed is None
    if view.cancelled_at is not None and (missing or cancelled or unsealed):
        state, code = JobState.CANCELLED, Cancelled.code
    elif missing or expired or unsealed:
        state, code = JobState.EXPIRED, (reason or Expired.code)
    else:
        state, code = JobState.COMPLETED, Expired.code
    _, usage = view.estimated()
    return Summary(
        state=state,
        counts=Counts(total=total, completed=len(ok), failed=len(failed) + len(missing)),
        segments=tuple(view.segments),
        superseded=ok & errors,
        missing=missing,
        missing_code=code if missing or unsealed else None,
        duplicates=tally.records - len(recorded),
        usage=usage,
        finalized_at=clock.now,
        planned_at=view.cursor.planned_at if view.cursor is not None else None,
        cancelling_at=view.cancelled_at,
    )


def _cut_off(view: JobView, clock: Clock) -> str | None:
    """The code of what ended the job before its time, if anything did."""
    if view.cancelled_at is not None and clock.cancelled_for >= clock.grace:
        late = clock.trusted and clock.now > view.cancelled_at + clock.grace
        # Where there is nothing to wait for, no clock is asked.
        if late or clock.grace <= 0:
            return Cancelled.code
    # A stored job may wait for its turn, its window or a dispatcher for long: it has no producer that could leave it.
    stored = view.manifest.stored is not None
    late = clock.trusted and clock.now > view.manifest.deadline + clock.grace
    if late and clock.overdue_for >= clock.grace:
        return Expired.code if stored or view.sealed is not None else ProducerAbandoned.code
    if not stored and view.sealed is None and clock.cursor_unchanged > ABANDONED_AFTER_SECONDS:
        return ProducerAbandoned.code
    return None
