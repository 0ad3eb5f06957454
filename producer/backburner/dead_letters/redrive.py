"""Sends dead letters again. Those of a job go into a new job; those of streams and single requests keep their address.

A crash anywhere loses no letter and creates no second job: what is under way is stored under `redrives/` before a
letter is removed or a request sent, and the next redrive begins with what it finds there.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from itertools import filterfalse, islice
from pathlib import Path

from backburner.connections import Connections
from backburner.dead_letters.letter import DeadLetter, DeadLetterRef
from backburner.dead_letters.plan import PlanKind, Plans, RedrivePlan
from backburner.dead_letters.republish import Republisher
from backburner.dead_letters.request_line import LetterNotSent, line_of, why_kept
from backburner.dead_letters.store import DeadLetterStore
from backburner.inputs.findings import Findings
from backburner.inputs.validation import Checker
from backburner.storage.parse import read_manifest
from backburner.submission.options import Deadline, manifest_of
from backburner.temporary_files import temporary_folder, temporary_lines
from backburner_schemas import keys
from backburner_schemas.errors import (
    BackburnerError,
    InvalidInput,
    JobConflict,
    LetterNotFound,
    PoolNotFound,
    RequestRefused,
    StoredObjectBroken,
)
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import JobManifest

_BATCH_JOBS = 16
_MAX_KEPT_LETTERS = 1_000
"""Letters not sent that are reported one by one; of the others only their number."""


@dataclass(frozen=True, slots=True)
class RedrivenJob:
    """A new job made from the letters of another."""

    id: str
    """The new job's id."""
    parent: str
    """The job that the letters were of."""
    tenant: str
    """Tenant of both."""
    requests: int
    """How many requests the new job has."""


@dataclass(slots=True)
class RedriveResult:
    """What became of a redrive."""

    jobs: list[RedrivenJob] = field(default_factory=list)
    """The new jobs. Each is whole and on the queue."""
    republished: int = 0
    """Letters of streams and single requests that are on the queue again, under their own address."""
    stale: int = 0
    """Letters that were skipped, since their requests have a response."""
    kept: list[LetterNotSent] = field(default_factory=list)
    """Letters that could not be sent again, with the reason; of very many, the first thousand."""
    kept_total: int = 0
    """How many letters could not be sent again."""
    warnings: list[str] = field(default_factory=list)
    """What may delay the answers, such as a pool without a worker."""

    def keep(self, letter: LetterNotSent) -> None:
        """Report one that was not sent."""
        self.kept_total += 1
        if len(self.kept) < _MAX_KEPT_LETTERS:
            self.kept.append(letter)

    def warn(self, warnings: Sequence[str]) -> None:
        """Report warnings, each once."""
        self.warnings += [one for one in warnings if one not in self.warnings]


class Redrive:
    """One redrive of a tenant's letters. See `Client.redrive` for what is raised."""

    def __init__(self, connections: Connections, tenant: str, *, deadline: Deadline | None) -> None:
        self._connections = connections
        self._tenant = tenant
        self._deadline = deadline
        self._max_bytes = connections.settings.max_body_bytes
        self._store = DeadLetterStore(connections.storage, tenant, max_body_bytes=self._max_bytes)
        self._done = RedriveResult()

    async def everything(self) -> RedriveResult:
        """All letters of the tenant, one job after the other."""
        jobs = sorted({*await self._store.jobs(), *await self._store.broken_off()})
        for job in filter(keys.has_manifest, jobs):
            await self.job(job)
        # Single requests have a job each, so there may be very many of them.
        for some in _batched(filterfalse(keys.has_manifest, jobs), _BATCH_JOBS):
            ended = await asyncio.gather(*(self.job(job) for job in some), return_exceptions=True)
            for one in ended:
                if isinstance(one, BaseException):
                    raise one
        return self._done

    async def job(self, job: str) -> RedriveResult:
        """The letters of one job."""
        await self._of(job, None)
        return self._done

    async def one(self, id: str) -> RedriveResult:  # noqa: A002 - the word that users know it by
        """One letter. Raises `LetterNotFound`."""
        ref = DeadLetterRef.parse(id, self._tenant)
        if ref.job is not None and await self._store.broken_off(ref.job):
            await self._of(ref.job, [])
        try:
            letter = await self._store.one(id)
        except LetterNotFound:
            if self._done.jobs:
                # It went with what was begun.
                return self._done
            raise
        if letter.job is None:
            self._done.keep(why_kept(letter))
        else:
            await self._of(letter.job, [letter])
        return self._done

    async def _of(self, job: str, only: Sequence[DeadLetter] | None) -> None:
        """A job's letters, or these of them, behind what an earlier redrive of the job left undone."""
        # A queue that is away is reported before anything is moved.
        await self._connections.publisher()
        try:
            parent = await self._manifest(job)
            if parent is not None:
                await self._into_new_job(parent, only)
                return
        except (StoredObjectBroken, PoolNotFound, InvalidInput) as error:
            # One job's problem, such as a pool that has vanished meanwhile, does not affect the others.
            await self._keep_all(job, only, error)
            return
        republisher = Republisher(
            self._connections,
            self._store,
            self._tenant,
            job,
            self._deadline,
            now=await self._connections.storage.time(),
        )
        await republisher.restore()
        async with aclosing(self._batches(job, only)) as batches:
            async for batch in batches:
                # Not in one line: other jobs count meanwhile.
                sent = await republisher.send(batch, self._done.keep)
                self._done.republished += sent
        self._done.warn(self._connections.pools.warnings(republisher.pools))

    async def _manifest(self, job: str) -> JobManifest | None:
        if not keys.has_manifest(job):
            return None
        return await read_manifest(self._connections.storage, self._tenant, job)

    async def _batches(self, job: str, only: Sequence[DeadLetter] | None) -> AsyncGenerator[list[DeadLetter]]:
        """The chosen letters that can be sent; the others are reported."""
        if only is not None:
            yield self._wanted(only)
            return
        async with aclosing(self._store.batches(job)) as batches:
            async for batch in batches:
                yield self._wanted(batch)

    def _wanted(self, batch: Sequence[DeadLetter]) -> list[DeadLetter]:
        for letter in batch:
            if letter.problem is not None:
                self._done.keep(why_kept(letter))
        self._done.stale += sum(letter.stale for letter in batch)
        return [letter for letter in batch if letter.problem is None and not letter.stale]

    async def _keep_all(self, job: str, only: Sequence[DeadLetter] | None, error: BackburnerError) -> None:
        async with aclosing(self._batches(job, only)) as batches:
            async for batch in batches:
                for letter in batch:
                    self._done.keep(why_kept(letter, error.message))

    # --- into a new job ---------------------------------------------------------------------------------------

    async def _into_new_job(self, parent: JobManifest, only: Sequence[DeadLetter] | None) -> None:
        plans = Plans(self._connections, self._tenant, parent.id)
        found = await plans.find()
        if found is not None and not await plans.overtaken(found):
            await self._carry_out(plans, found)
        with temporary_folder() as folder:
            source = folder / "input.jsonl"
            letters = await self._write(parent, only, source)
            if not letters:
                return
            manifest = manifest_of(
                self._connections.settings,
                now=await self._connections.storage.time(),
                tenant=self._tenant,
                job_id=None,
                priority=parent.priority,
                deadline=self._deadline,
                metadata=parent.metadata,
                pool=parent.pool,
                parent=parent.id,
            )
            plan = await plans.make(RedrivePlan(manifest=manifest, letters=letters, kind=PlanKind.REDRIVE), source)
        if await plans.overtaken(plan):
            raise JobConflict(
                f"dead letters of job {parent.id} were redriven or removed meanwhile; list what is left with "
                f"`backburner dlq list --job {parent.id}`, and redrive again"
            )
        if not await self._carry_out(plans, plan):
            self._done.warn([f"job {plan.manifest.id} ended before all of it was sent; redrive {parent.id} again"])

    async def _carry_out(self, plans: Plans, plan: RedrivePlan) -> bool:
        """Create the plan's job and remove its letters. Returns False if the job ended half-sent, and they stay."""
        sent = await plans.carry_out(plan, self._store)
        if sent is None:
            return False
        parent = plan.manifest.parent or ""
        self._done.jobs.append(RedrivenJob(plan.manifest.id, parent, self._tenant, len(plan.letters)))
        self._done.warn(sent.warnings)
        return True

    async def _write(self, parent: JobManifest, only: Sequence[DeadLetter] | None, path: Path) -> IndexSet:
        """Write the new job's input. Returns the indexes of the letters in it. Raises `PoolNotFound`."""
        pools = self._connections.pools
        pool = await pools.check_pool(parent.pool) if parent.pool is not None else None
        taken: list[int] = []
        checker = Checker(max_bytes=self._max_bytes, router=pools, pool=pool)
        with temporary_lines(path) as write, closing(checker):
            async with aclosing(self._batches(parent.id, only)) as batches:
                async for batch in batches:
                    chunk = [(number, await self._line(letter)) for number, letter in enumerate(batch, 1)]
                    texts: dict[int, bytes | BackburnerError] = dict(chunk)
                    findings = Findings(len(chunk))
                    checked = await checker.check(chunk, findings)
                    for finding in findings:
                        self._done.keep(why_kept(batch[finding.line - 1], finding.message))
                    for one in checked.accepted:
                        text, index = texts[one.line], batch[one.line - 1].index
                        assert isinstance(text, bytes)
                        assert isinstance(index, int)
                        write(text)
                        taken.append(index)
        return IndexSet.of(taken)

    async def _line(self, letter: DeadLetter) -> bytes | BackburnerError:
        if letter.envelope is None or not isinstance(letter.index, int):
            return RequestRefused(
                f"the indexes of a job are numbers, and {letter.index!r} is not one; purge the letter"
            )
        try:
            return await line_of(self._connections.storage, letter.envelope, max_bytes=self._max_bytes)
        except RequestRefused as error:
            return error


def _batched(jobs: Iterable[str], count: int) -> Iterator[list[str]]:
    """The jobs, so many at a time."""
    left = iter(jobs)
    while some := list(islice(left, count)):
        yield some
