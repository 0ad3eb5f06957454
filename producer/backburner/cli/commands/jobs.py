"""Commands about jobs that exist: `status`, `watch` or `wait`, `cancel`, `pause`, `resume`, `jobs`, `reconcile`."""

import dataclasses
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from backburner.cli import arguments, command, completion
from backburner.cli.commands.results import explaining_empty_stream
from backburner.cli.exit_codes import ExitCode, code_of_job
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner.cli.terminal.progress import Watcher, display
from backburner_schemas import keys
from backburner_schemas.errors import JobNotFound
from backburner_schemas.job import JobState

if TYPE_CHECKING:
    from backburner.client import Client
    from backburner.job import Job
    from backburner.jobs.streams import StreamStatus
    from backburner_schemas.status import BatchStatus

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command.add(app, status)
    command.add(app, watch)
    command.add(app, watch, "wait")  # What people type who know the SDK, or kubectl.
    command.add(app, cancel)
    command.add(app, pause)
    command.add(app, resume)
    command.add(app, jobs)
    command.add(app, reconcile)


def _job(client: "Client", job: str, tenant: str | None) -> "Job":
    if job.startswith(keys.SINGLE):
        raise JobNotFound(f"{job} is a single request, not a job; `backburner results {job}` reads its answer")
    return client.job(job, tenant=tenant)


async def status(
    session: Session, job: arguments.JobId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> None:
    """Print what a job is doing, or what there is of a stream.

    With --json as OpenAI's batch object; of a stream, as an object with the same counts and usage.
    """
    async with session.open_client() as client:
        if job.startswith(keys.STREAM):
            with explaining_empty_stream(job), Activity("reading the stream"):
                stream = await client.stream(job, tenant=tenant)
            show.out_json(stream) if json else show.out(show.stream_lines(stream))
            return
        with Activity("reading the job's status"):
            found = await _job(client, job, tenant).status()
    if json:
        show.out_json(found)
    else:
        show.out(show.status_lines(found))


async def watch(
    session: Session, job: arguments.JobId, *, timeout: arguments.Timeout = None, tenant: arguments.Tenant = None
) -> ExitCode:
    """Show a job's progress until it ends.

    Ctrl-C ends the watching, not the job.
    """
    session.go_on = f"the job goes on: `backburner watch {job}` shows it again"
    async with session.open_client() as client:
        watched = _job(client, job, tenant)
        with display() as shown:
            ended = await watched.wait(timeout=arguments.seconds_of(timeout), progress=Watcher(shown))
    show.say(show.ending(ended))
    return code_of_job(ended)


async def cancel(
    session: Session, job: arguments.JobId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> None:
    """Cancel a job.

    What is still queued is dropped, and each dropped request gets its record; what was answered stays.
    """
    async with session.open_client() as client:
        with Activity("cancelling the job"):
            found = await _job(client, job, tenant).cancel()
        grace = client.settings.freeze_grace_seconds
    if json:
        show.out_json(found)
    elif found.status is JobState.CANCELLING:
        show.say(
            f"{found.id} is being cancelled; what was answered already stays. Workers end what is left of it; without "
            f"them it ends after {grace:.0f} s"
        )
    else:
        show.say(f"{found.id} was {found.status} already" if found.frozen else f"{found.id} is {found.status}")


async def pause(
    session: Session, job: arguments.JobId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> None:
    """Pause a stored job: nothing more of it is sent.

    What is on the queue already is answered.
    """
    async with session.open_client() as client:
        with Activity("pausing the job"):
            found = await _job(client, job, tenant).pause()
    if json:
        show.out_json(found)
    else:
        show.say(f"{found.id} is paused; `backburner resume {found.id}` lets it go on")


async def resume(
    session: Session, job: arguments.JobId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> None:
    """Let a paused job go on."""
    async with session.open_client() as client:
        with Activity("resuming the job"):
            found = await _job(client, job, tenant).resume()
    if json:
        show.out_json(found)
    else:
        show.say(f"{found.id} was {found.status} already" if found.frozen else f"{found.id} goes on")


async def jobs(
    session: Session,
    *,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many of each kind.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them, whatever --limit says.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            callback=arguments.valid_name,
            autocompletion=completion.jobs,
            help="Jobs behind this one in the list, or streams behind this stream.",
        ),
    ] = None,
    status: Annotated[
        list[JobState] | None,
        typer.Option(metavar="STATUS", help="Jobs of this status alone, such as in_progress; may be repeated."),
    ] = None,
    tenant: arguments.Tenant = None,
    json: Annotated[bool, typer.Option("--json", help="Print one object a line: batches, then streams.")] = False,
) -> None:
    """List jobs, newest first, and below them the streams of raw producers."""
    most = sys.maxsize if everything else limit
    of_stream = after is not None and after.startswith(keys.STREAM)
    wanted = frozenset(status or JobState)
    found: list[BatchStatus] = []
    streams: list[StreamStatus] = []
    async with session.open_client() as client:
        with Activity("reading the jobs") as activity:
            if not of_stream:
                # A filter is applied to all, not to the first page.
                listed = client.jobs(tenant=tenant, limit=sys.maxsize if status else most, after=after)
                found = await _taken(listed, most, lambda one: one.status in wanted)
            if of_stream or (after is None and not status):
                activity.update("reading the streams")
                streams = await _taken(client.streams(tenant=tenant, limit=most, after=after), most, lambda _: True)
    if json:
        for one in (*found, *streams):
            show.out_json(one)
    else:
        _show_lists(found, streams, narrowed=bool(after or status))
    for page in (found, streams):
        if len(page) == most:
            show.say(f"there may be more; --after {page[-1].id} shows the next, --all shows all")


async def _taken(listed: AsyncGenerator[T], most: int, is_wanted: Callable[[T], bool]) -> list[T]:
    """So many of those that are wanted, and no look at those behind them."""
    taken: list[T] = []
    async with aclosing(listed) as left:
        async for one in left:
            if is_wanted(one):
                taken.append(one)
                if len(taken) == most:
                    break
    return taken


def _show_lists(found: "Sequence[BatchStatus]", streams: "Sequence[StreamStatus]", *, narrowed: bool) -> None:
    if found:
        show.jobs_table(found)
    if found and streams:
        show.out("")
    if streams:
        show.streams_table(streams)
    if not found and not streams:
        show.say("there are none" if narrowed else "there are no jobs yet; `backburner submit FILE` creates one")


async def reconcile(
    session: Session, job: arguments.JobId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> ExitCode:
    """Check that in = ok + failed + pending.

    Counted from the records themselves. Exits with 0 if they agree, 1 if not, and 3 for a stream, which has no total.
    """
    async with session.open_client() as client:
        with explaining_empty_stream(job), Activity("counting the records"):
            found = await _job(client, job, tenant).reconcile()
    if json:
        show.out_json({**dataclasses.asdict(found), "agrees": found.agrees})
    else:
        show.out(show.reconciliation_line(found))
    for difference in found.differences:
        show.warn(difference)
    if found.stream:
        show.say(f"{found.job} is a stream; it has no total to reconcile with")
        return ExitCode.UNDECIDED
    return ExitCode.OK if found.agrees else ExitCode.ENDED_BADLY
