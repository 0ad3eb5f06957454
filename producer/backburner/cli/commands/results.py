"""`results`: the records of a job, or of a single request, as JSON lines."""

import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.input_file import readable_twice
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner.cli.terminal.output import check_output, is_stdout, records_to
from backburner.cli.terminal.progress import Watcher, display
from backburner.jobs.record_lines import RecordLines
from backburner_schemas import keys
from backburner_schemas.errors import JobNotFound, SettingsError
from backburner_schemas.result import encode_record

if TYPE_CHECKING:
    from backburner.handle import Handle
    from backburner.job import Job


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, results)


def results(
    session: Session,
    job: arguments.HandleOrJobId,
    *,
    output: arguments.Output = None,
    join: Annotated[
        Path | None,
        typer.Option(
            metavar="INPUT", exists=True, dir_okay=False, help="The job's input; each record then carries its request."
        ),
    ] = None,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--no-follow",
            help="Go on until the job has ended, or print what is there now.",
            show_default="follow, except for streams, which have no end",
        ),
    ] = None,
    timeout: arguments.Timeout = None,
    tenant: arguments.Tenant = None,
) -> Coroutine[Any, Any, ExitCode | None]:
    """Print the results as JSON lines.

    In OpenAI's batch output form, each request once, as they come; it ends when the job has ended.
    """
    goes_on = not job.startswith(keys.STREAM) if follow is None else follow
    if timeout is not None and not goes_on:
        raise SettingsError("--timeout needs --follow")
    reading = _Reading(
        output=output,
        join=None if join is None else session.keep(readable_twice(join)),
        follow=goes_on,
        timeout=arguments.seconds_of(timeout),
    )
    check_output(output)
    return _results(session, job, tenant, reading)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the options say."""

    output: Path | None
    join: Path | None
    follow: bool
    timeout: float | None


async def _results(session: Session, job: str, tenant: str | None, reading: _Reading) -> ExitCode | None:
    async with session.open_client() as client:
        if job.startswith(keys.SINGLE):
            session.go_on = f"`backburner results {job}` reads the answer later"
            return await _write_answer(client.handle(job, tenant=tenant), reading)
        session.go_on = f"the job goes on: `backburner watch {job}` shows it"
        found, output = client.job(job, tenant=tenant), reading.output
        begun = time.monotonic()
        if output is not None and not is_stdout(output) and reading.follow:
            # Records of a running job are provisional. A file is kept, so it is written once the job has ended.
            with display() as shown:
                await found.wait(timeout=reading.timeout, progress=Watcher(shown))
        left = None if reading.timeout is None else max(reading.timeout - (time.monotonic() - begun), 0.0)
        with explaining_empty_stream(job) if not reading.follow else nullcontext():
            await write_results(found, output, join=reading.join, follow=reading.follow, timeout=left)
    return None


@contextmanager
def explaining_empty_stream(job: str) -> Iterator[None]:
    """Report that a stream has nothing: it has no manifest that could be missing."""
    try:
        yield
    except JobNotFound as error:
        if not job.startswith(keys.STREAM):
            raise
        raise JobNotFound(f"nothing is stored under {job}; check the name and the tenant") from error


async def write_results(
    job: "Job",
    output: Path | None,
    *,
    join: Path | None = None,
    follow: bool = True,
    timeout: float | None = None,
) -> None:
    """Write a job's records, and print how many if they went into a file. `timeout` is as in `Job.results`."""
    written = failed = 0
    with records_to(output) as write, Activity(f"waiting for records of {job.id}") as activity:
        async with aclosing(_lines(job, join=join, follow=follow, timeout=timeout)) as pieces:
            async for lines in pieces:
                activity.rest()
                write(lines.data.removesuffix(b"\n"))
                written += lines.count
                failed += lines.failed
    if output is not None:
        show.say(f"wrote {written:,} records to {output}, {failed:,} of them errors")


async def _lines(
    job: "Job",
    *,
    join: Path | None,
    follow: bool,
    timeout: float | None,
) -> AsyncGenerator[RecordLines]:
    if join is None:
        async with aclosing(job.result_lines(follow=follow, timeout=timeout)) as pieces:
            async for lines in pieces:
                yield lines
        return
    async for joined in job.results(join=join, follow=follow, timeout=timeout):
        request = joined.request.model_dump(mode="json") if joined.request is not None else None
        line = to_json({**joined.model_dump(mode="json"), "request": request}, inf_nan_mode="null")
        yield RecordLines(line + b"\n", 1, int(not joined.ok))


async def _write_answer(handle: "Handle", reading: _Reading) -> ExitCode:
    from backburner.handle import RequestFailed

    with Activity(f"reading the answer to {handle.id}"):
        record = await handle.peek()
    if record is None and reading.follow:
        show.say(f"waiting for the answer to {handle.id}, which is not there yet; --no-follow does not wait")
        try:
            record = await handle.result(timeout=reading.timeout)
        except RequestFailed as failure:
            record = failure.record
    if record is None:
        show.say(f"{handle.id} has no answer yet; --follow waits for it")
        return ExitCode.OK
    with records_to(reading.output) as write:
        write(encode_record(record))
    return ExitCode.OK
