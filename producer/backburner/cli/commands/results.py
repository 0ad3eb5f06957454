"""`results`: the records of a job, or of a single request, as JSON lines."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic_core import to_json

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.output import records_to
from backburner.cli.terminal.progress import Watcher, display
from backburner.jobs.record_lines import RecordLines
from backburner_schemas import keys
from backburner_schemas.errors import JobNotFound
from backburner_schemas.result import encode_record

if TYPE_CHECKING:
    from backburner.handle import Handle
    from backburner.job import Job


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, results)


async def results(
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
    tenant: arguments.Tenant = None,
) -> ExitCode | None:
    """Print the results as JSON lines.

    In OpenAI's batch output form, each request once, as they come; it ends when the job has ended.
    """
    goes_on = not job.startswith(keys.STREAM) if follow is None else follow
    session.on_interrupt = f"interrupted; the job goes on: `backburner watch {job}` shows it"
    async with session.open_client() as client:
        if job.startswith(keys.SINGLE):
            session.on_interrupt = f"interrupted; `backburner results {job}` reads the answer later"
            return await _write_answer(client.handle(job, tenant=tenant), output, follow=goes_on)
        found = client.job(job, tenant=tenant)
        if output is not None and goes_on:
            # Records of a running job are provisional. A file is kept, so it is written once the job has ended.
            with display() as shown:
                await found.wait(progress=Watcher(shown))
        with explaining_empty_stream(job) if not goes_on else nullcontext():
            await write_results(found, output, join=join, follow=goes_on)
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


async def write_results(job: "Job", output: Path | None, *, join: Path | None = None, follow: bool = True) -> None:
    """Write a job's records, and print how many if they went into a file."""
    written = failed = 0
    with records_to(output) as write:
        async with aclosing(_lines(job, join=join, follow=follow)) as pieces:
            async for lines in pieces:
                write(lines.data.removesuffix(b"\n"))
                written += lines.count
                failed += lines.failed
    if output is not None:
        show.say(f"wrote {written:,} records to {output}, {failed:,} of them errors")


async def _lines(job: "Job", *, join: Path | None, follow: bool) -> AsyncGenerator[RecordLines]:
    if join is None:
        async with aclosing(job.result_lines(follow=follow)) as pieces:
            async for lines in pieces:
                yield lines
        return
    async for joined in job.results(join=join, follow=follow):
        request = joined.request.model_dump(mode="json") if joined.request is not None else None
        line = to_json({**joined.model_dump(mode="json"), "request": request}, inf_nan_mode="null")
        yield RecordLines(line + b"\n", 1, int(not joined.ok))


async def _write_answer(handle: "Handle", output: Path | None, *, follow: bool) -> ExitCode:
    from backburner.handle import RequestFailed

    record = await handle.peek()
    if record is None and follow:
        show.say(f"waiting for the answer to {handle.id}, which is not there yet; --no-follow does not wait")
        try:
            record = await handle.result()
        except RequestFailed as failure:
            record = failure.record
    if record is None:
        show.say(f"{handle.id} has no answer yet; --follow waits for it")
        return ExitCode.OK
    with records_to(output) as write:
        write(encode_record(record))
    return ExitCode.OK
