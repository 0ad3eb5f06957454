"""Whether a job's counts agree: requests in = answered + failed + pending, counted exactly from its segments."""

from dataclasses import dataclass

from backburner.jobs.finalizer import tally_segments, view_job
from backburner.jobs.record_reader import not_found
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.indexset import IndexSet


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A job's counts. For a stream `total` and `pending` are None: nobody knows how much is still to come."""

    job: str
    """The job's id."""
    stream: bool
    """Whether it is a stream, of which nobody knows how much is to come."""
    frozen: bool
    """Whether the job has ended."""
    sealed: bool
    """Whether `total` is final."""
    total: int | None
    """Requests of the job; None of a stream."""
    ok: int
    """Requests with a response."""
    failed: int
    """Requests with an error and no response, and those that a freeze cut off."""
    pending: int | None
    """Requests without a record that may still get one."""
    duplicates: int
    """Records beyond one for each request: redeliveries, which no reader sees."""
    strays: int
    """Records whose index does not belong to the job."""
    differences: tuple[str, ...]
    """What does not agree, in words."""

    @property
    def agrees(self) -> bool:
        """Whether the counts agree. Never true of a stream."""
        return not self.stream and not self.differences


async def reconcile(storage: Storage, tenant: str, job: str) -> Reconciliation:
    """Count a job's records and compare them with its total. Raises `JobNotFound` and `StoreError`."""
    view = await view_job(storage, tenant, job)
    if view is None:
        return await _stream(storage, tenant, job)
    tally = await tally_segments(storage, view)
    ok, errors = tally.ok, tally.failed
    summary = view.summary
    total = summary.counts.total if summary is not None else view.total_with(ok | errors)
    everything = IndexSet.below(total)
    strays = len((ok | errors) - everything)
    ok, errors = ok & everything, (errors & everything) - ok
    missing = everything - ok - errors
    failed, pending = len(errors), len(missing)
    differences = []
    if strays:
        differences.append(f"{strays:,} records have an index that the job does not have")
    if summary is not None:
        failed, pending = failed + len(summary.missing), len(missing - summary.missing)
        if pending:
            differences.append(f"{pending:,} requests have neither a record nor a place among the missing")
        for name, counted, stated in (
            ("answered", len(ok), summary.counts.completed),
            ("failed", failed, summary.counts.failed),
        ):
            if counted != stated:
                differences.append(f"the summary has {stated:,} {name}, and the records have {counted:,}")
    if len(ok) + failed + pending != total:
        differences.append(f"{total:,} in, and {len(ok):,} + {failed:,} + {pending:,} accounted for")
    if summary is not None and view.sealed is not None and view.sealed.total != total:
        differences.append(f"sealed with {view.sealed.total:,} requests and frozen with {total:,}")
    return Reconciliation(
        job=job,
        stream=False,
        frozen=summary is not None,
        sealed=view.sealed is not None,
        total=total,
        ok=len(ok),
        failed=failed,
        pending=pending,
        duplicates=_records(view.segments) - len(ok) - len(errors) - strays,
        strays=strays,
        differences=tuple(differences),
    )


async def _stream(storage: Storage, tenant: str, job: str) -> Reconciliation:
    """What the names of a stream's segments show; its indexes are strings, of which no digest is kept."""
    names = [
        name async for one in storage.scan(keys.segments(tenant, job)) if (name := keys.SegmentName.parse(one.key))
    ]
    if not names:
        raise not_found(job)
    return Reconciliation(
        job=job,
        stream=True,
        frozen=False,
        sealed=False,
        total=None,
        ok=sum(name.ok for name in names),
        failed=sum(name.failed for name in names),
        pending=None,
        duplicates=0,
        strays=0,
        differences=(),
    )


def _records(segments: tuple[str, ...]) -> int:
    names = (keys.SegmentName.parse(name) for name in segments)
    return sum(name.ok + name.failed for name in names if name is not None)
