"""`submit`: a file of requests becomes a job."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backburner.cli import arguments, command
from backburner.cli.commands.results import write_results
from backburner.cli.exit_codes import ExitCode, code_of_job
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.output import check_output
from backburner.cli.terminal.progress import Watcher, display
from backburner.cli.terminal.refusals import listed
from backburner.cli.terminal.sending import Sending
from backburner_schemas.errors import SettingsError
from backburner_schemas.keys import new_job_id
from backburner_schemas.names import Lane

if TYPE_CHECKING:
    from backburner.job import Job


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, submit)


async def submit(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Requests in OpenAI's batch form, JSONL; - for stdin.")],
    *,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model of every request, whatever the lines name.")
    ] = None,
    pool: arguments.Pool = None,
    priority: arguments.Priority = Lane.NORMAL,
    deadline: arguments.Deadline = None,
    tenant: arguments.Tenant = None,
    job_id: arguments.NewJobId = None,
    metadata: arguments.Metadata = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Skip the lines that cannot be accepted, and send the rest.")
    ] = False,
    stored: arguments.Stored = False,
    window: arguments.Window = None,
    timezone: arguments.TimeZone = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended, and show its progress.")] = False,
    output: arguments.Output = None,
    json: arguments.Json = False,
) -> ExitCode:
    """Submit a file of requests as a job, and print the job's id."""
    if output is not None and not wait:
        raise SettingsError("-o needs --wait; without it, use `backburner results JOB -o OUT` later")
    check_output(output)
    pairs = arguments.metadata_of(metadata or ())
    chosen = job_id or new_job_id()
    session.on_interrupt = f"interrupted; run the same command with --job-id {chosen} to send the rest"
    from backburner.inputs.findings import InvalidInput

    async with session.open_client() as client:
        with _readable_twice(file) as source, Sending() as sending:
            try:
                job = await client.submit(
                    source,
                    job_id=chosen,
                    priority=priority,
                    deadline=deadline,
                    metadata=pairs,
                    model=model,
                    pool=pool,
                    tenant=tenant,
                    skip_invalid=skip_invalid,
                    on_progress=sending,
                    stored=stored,
                    window=window,
                    timezone=timezone,
                )
            except InvalidInput as error:
                sending.close()
                raise listed(file, error, "send") from error
        _report(job, as_json=json)
        if not wait:
            return ExitCode.OK
        return await _wait(session, job, output)


def _report(job: "Job", *, as_json: bool) -> None:
    """Print the id first, and at once: whatever comes later, it is known."""
    from backburner.inputs.findings import Findings

    # Of very many, only the first are kept one by one.
    skipped = job.skipped.total if isinstance(job.skipped, Findings) else len(job.skipped)
    if as_json:
        show.out_json({"id": job.id, "tenant": job.tenant, "skipped": skipped, "warnings": [*job.warnings]})
    else:
        show.out(job.id)
    for warning in job.warnings:
        show.warn(warning)
    if skipped:
        show.findings(job.skipped, skipped)
        show.warn("1 line was left out" if skipped == 1 else f"{skipped:,} lines were left out")


async def _wait(session: Session, job: "Job", output: Path | None) -> ExitCode:
    session.on_interrupt = f"interrupted; the job goes on: `backburner watch {job.id}` shows it"
    with display() as shown:
        status = await job.wait(progress=Watcher(shown))
    show.say(show.ending(status))
    if output is not None:
        session.on_interrupt = f"interrupted; `backburner results {job.id} -o {output}` writes the results"
        await write_results(job, output)
    return code_of_job(status)


@contextmanager
def _readable_twice(file: Path) -> Iterator[Path]:
    """The input as a file that can be read again: its first reading finds what is wrong before anything is sent.

    stdin and pipes are copied to a temporary file.
    """
    if str(file) != "-" and (file.is_file() or not file.exists()):
        yield file
        return
    if file.is_dir():
        raise SettingsError(f"{file} is a folder; pass a file of requests")
    source = nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")
    with source as stream, tempfile.NamedTemporaryFile(prefix="backburner-", suffix=".jsonl") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield Path(copy.name)
