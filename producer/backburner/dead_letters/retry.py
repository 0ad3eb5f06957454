"""Creates a new job of exactly the requests of an ended one that have no response.

Their bodies come from the job's input, passed or stored, or else from its dead letters.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backburner.connections import Connections
from backburner.dead_letters.letter import DeadLetterRef
from backburner.dead_letters.plan import PlanKind, Plans, RedrivePlan
from backburner.dead_letters.request_line import line_of
from backburner.dead_letters.store import DeadLetterStore
from backburner.inputs.findings import Findings, InvalidInput
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.line_blocks import on_one_line
from backburner.inputs.source import Source, read_lines
from backburner.inputs.validation import Checker
from backburner.job import Job
from backburner.jobs.answered import answered_in
from backburner.jobs.finalizer import finalize, view_job
from backburner.jobs.join import download_input
from backburner.jobs.record_reader import not_found
from backburner.jobs.routes import routes_of_input
from backburner.submission.options import Deadline, manifest_of
from backburner.submission.submission import SubmitProgress
from backburner.temporary_files import temporary_folder, temporary_lines
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict, JobError, RequestRefused
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Prefix
from backburner_schemas.names import Lane
from backburner_schemas.status import JobView

_MAX_NAMED_REQUESTS = 3
"""Requests without a body that an error lists."""


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """What the caller asked for."""

    input: Source | None = None
    priority: Lane | None = None
    deadline: Deadline | None = None
    on_progress: Callable[[SubmitProgress], object] | None = None


class RetryFailed:
    """One retry of a job's failed part. Call `run` once."""

    def __init__(self, connections: Connections, tenant: str, job: str, options: RetryOptions) -> None:
        self._connections = connections
        self._storage = connections.storage
        self._tenant = tenant
        self._job = job
        self._options = options
        self._max_bytes = connections.settings.max_body_bytes
        self._store = DeadLetterStore(connections.storage, tenant, max_body_bytes=self._max_bytes)

    async def run(self) -> Job:
        """The new job, whole and on the queue. See `Client.retry_failed` for what is raised."""
        view = await self._ended()
        await self._connections.publisher()
        plans = Plans(self._connections, self._tenant, self._job)
        found = await plans.find()
        if found is not None:
            if found.kind is not PlanKind.RETRY:
                raise JobConflict(
                    f"a redrive of job {self._job} was broken off; run `backburner dlq redrive --job {self._job}` first"
                )
            if (job := await self._carry_out(plans, found)) is not None:
                return job
        if (made := await plans.made()) is not None:
            return self._made_before(made)
        with temporary_folder() as folder:
            source = folder / "input.jsonl"
            plan = await plans.make(await self._plan(view, source), source)
        if (made := await plans.made()) is not None and made != plan.manifest.id:
            # Another retry was completed between the first look and this plan.
            await plans.drop(plan)
            return self._made_before(made)
        job = await self._carry_out(plans, plan)
        if job is None:
            raise JobConflict(f"job {plan.manifest.id} ended before all of it was sent; retry {self._job} again")
        return job

    def _made_before(self, child: str) -> Job:
        warning = (
            f"job {self._job} was retried before, as {child}, and nothing was sent now; retry {child} for the rest"
        )
        return Job(self._connections, self._tenant, child, warnings=[warning])

    async def _plan(self, view: JobView, source: Path) -> RedrivePlan:
        """Writes the new job's input, too."""
        assert view.summary is not None
        parent, options = view.manifest, self._options
        failed = IndexSet.below(view.summary.counts.total) - await answered_in(self._storage, view)
        if not (failed or (view.sealed is None and options.input is not None)):
            raise self._nothing()
        if parent.pool is not None:
            await self._connections.pools.check_pool(parent.pool)
        manifest = manifest_of(
            self._connections.settings,
            now=await self._connections.storage.time(),
            tenant=self._tenant,
            job_id=None,
            priority=parent.priority if options.priority is None else options.priority,
            deadline=options.deadline,
            metadata=parent.metadata,
            pool=parent.pool,
            model=parent.model,
            parent=parent.id,
        )
        await self._write(view, failed, source)
        letters = IndexSet.of([index async for index in self._with_letters(failed)])
        return RedrivePlan(manifest=manifest, letters=letters, kind=PlanKind.RETRY)

    async def _carry_out(self, plans: Plans, plan: RedrivePlan) -> Job | None:
        sent = await plans.carry_out(plan, self._store, self._options.on_progress)
        if sent is None:
            return None
        return Job(self._connections, self._tenant, plan.manifest.id, warnings=sent.warnings)

    async def _ended(self) -> JobView:
        grace = self._connections.settings.freeze_grace_seconds
        await finalize(self._storage, self._tenant, self._job, grace=grace, watch=self._connections.job_watch)
        view = await view_job(self._storage, self._tenant, self._job)
        if view is None:
            raise not_found(self._job)
        if view.summary is None:
            raise JobConflict(
                f"job {self._job} has not ended, so what failed is not known yet; wait for it with `backburner watch "
                f"{self._job}`, or cancel it with `backburner cancel {self._job}`"
            )
        return view

    async def _with_letters(self, failed: IndexSet) -> AsyncGenerator[int]:
        async for one in self._storage.scan(keys.dead_letters(self._tenant, self._job)):
            ref = DeadLetterRef.of(one.key)
            if ref is not None and isinstance(ref.index, int) and ref.index in failed:
                yield ref.index

    # --- bodies -----------------------------------------------------------------------------------------------

    async def _write(self, view: JobView, failed: IndexSet, into: Path) -> None:
        """Write the failed requests as a new input, in the order of their indexes."""
        given = self._options.input
        if given is not None:
            await self._from_input(view, failed, given, into)
            return
        with temporary_folder() as folder:
            stored = folder / "input.jsonl"
            if await download_input(self._storage, view.manifest, stored):
                await self._from_input(view, failed, stored, into)
                return
        await self._from_letters(failed, into)

    async def _from_input(self, view: JobView, failed: IndexSet, source: Source, into: Path) -> None:
        """Raises `JobConflict` if it is not the job's own input."""
        fingerprint = Fingerprint(self._another)
        sealed, cursor = view.sealed, view.cursor
        if sealed is not None:
            fingerprint.expect(Prefix(sealed.total, sealed.sha256))
        if cursor is not None:
            fingerprint.expect(cursor.whole)
            # That of a stored job counts in the order of its plan.
            if view.manifest.stored is None:
                fingerprint.expect(Prefix(cursor.count, cursor.sha256))
                fingerprint.expect(cursor.first)
        router = await routes_of_input(self._storage, self._tenant, self._job, sealed, self._connections.pools)
        # Of a job that was never sealed, what follows the known requests was never sent.
        known = view.total if sealed is not None or view.summary is None else view.summary.counts.total
        written = 0
        manifest = view.manifest
        checker = Checker(max_bytes=self._max_bytes, pool=manifest.pool, model=manifest.model, router=router)
        with temporary_lines(into) as write, closing(checker):
            async with aclosing(read_lines(source, max_bytes=self._max_bytes)) as chunks:
                async for chunk in chunks:
                    texts = dict(chunk)
                    for one in (await checker.check(chunk, Findings())).accepted:
                        text = texts[one.line]
                        assert isinstance(text, bytes)
                        if fingerprint.count in failed or fingerprint.count >= known:
                            write(on_one_line(text))
                            written += 1
                        fingerprint.take(one.data)
        fingerprint.end()
        if sealed is not None and fingerprint.count != sealed.total:
            raise self._another()
        if not written:
            raise self._nothing()

    async def _from_letters(self, failed: IndexSet, into: Path) -> None:
        """Raises `InvalidInput` unless each of them has a letter with its body."""
        found: list[int] = []
        with temporary_lines(into) as write:
            async with aclosing(self._store.batches(self._job)) as batches:
                async for batch in batches:
                    for letter in batch:
                        if letter.problem is None and isinstance(letter.index, int) and letter.index in failed:
                            assert letter.envelope is not None
                            with suppress(RequestRefused):
                                line = await line_of(self._storage, letter.envelope, max_bytes=self._max_bytes)
                                write(line)
                                found.append(letter.index)
        if without := failed - IndexSet.of(found):
            first = ", ".join(str(index) for index in islice(without, _MAX_NAMED_REQUESTS))
            more = ", …" if len(without) > _MAX_NAMED_REQUESTS else ""
            raise InvalidInput(
                f"the bodies of {len(without):,} of the {len(failed):,} requests that failed are not stored (index "
                f"{first}{more}); pass the input that job {self._job} was made from, with --input FILE or input="
            )

    def _nothing(self) -> JobError:
        return JobError(f"every request of job {self._job} has its response; there is nothing to retry")

    def _another(self) -> JobConflict:
        return JobConflict(f"the input is not the one that job {self._job} was made from; pass that one")
