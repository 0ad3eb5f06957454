"""`submit`: a file of requests becomes a job."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.commands.results import write_results
from backburner.cli.exit_codes import ExitCode, code_of_job
from backburner.cli.input_file import readable_twice
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.output import check_output, is_stdout
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


def submit(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Requests in OpenAI's batch form, JSONL, also gzipped; - for stdin.")
    ],
    *,
    model: arguments.BatchModel = None,
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
    timeout: arguments.Timeout = None,
    output: arguments.Output = None,
    json: arguments.Json = False,
) -> Coroutine[Any, Any, ExitCode]:
    """Submit a file of requests as a job, and print the job's id."""
    if output is not None and not wait:
        raise SettingsError("-o needs --wait; without it, use `backburner results JOB -o OUT` later")
    if timeout is not None and not wait:
        raise SettingsError("--timeout needs --wait")
    check_output(output)
    options = {
        "job_id": job_id or new_job_id(),
        "priority": priority,
        "deadline": deadline,
        "metadata": arguments.metadata_of(metadata or ()),
        "model": model,
        "pool": pool,
        "tenant": tenant,
        "skip_invalid": skip_invalid,
        "stored": stored,
        "window": window,
        "timezone": timezone,
    }
    source = session.keep(readable_twice(file))
    session.go_on = f"run the same command with --job-id {options['job_id']} to send the rest"
    waiting = _Waiting(timeout, output) if wait else None
    return _submit(session, file, source, options, waiting, as_json=json)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What --wait is told."""

    timeout: timedelta | None
    output: Path | None


async def _submit(
    session: Session, file: Path, source: Path, options: Mapping[str, Any], waiting: _Waiting | None, *, as_json: bool
) -> ExitCode:
    from backburner.inputs.findings import InvalidInput

    async with session.open_client() as client:
        with Sending() as sending:
            try:
                job = await client.submit(source, **options, on_progress=sending)
            except InvalidInput as error:
                sending.close()
                raise listed(file, error, "send") from error
        session.go_on = f"the job goes on: `backburner watch {job.id}` shows it"
        # Where stdout is for the records, they are all that comes there.
        write = show.say if waiting is not None and is_stdout(waiting.output) else None
        _report(job, as_json=as_json, write=write)
        return ExitCode.OK if waiting is None else await _wait(session, job, waiting)


def _report(job: "Job", *, as_json: bool, write: Callable[[str], None] | None) -> None:
    """Print the id first, and at once: whatever comes later, it is known."""
    from backburner.inputs.findings import Findings

    # Of very many, only the first are kept one by one.
    skipped = job.skipped.total if isinstance(job.skipped, Findings) else len(job.skipped)
    if write is not None:
        write(job.id)
    elif as_json:
        show.out_json({"id": job.id, "tenant": job.tenant, "skipped": skipped, "warnings": [*job.warnings]})
    else:
        show.out(job.id)
    for warning in job.warnings:
        show.warn(warning)
    if skipped:
        show.findings(job.skipped, skipped)
        show.warn("1 line was left out" if skipped == 1 else f"{skipped:,} lines were left out")


async def _wait(session: Session, job: "Job", waiting: _Waiting) -> ExitCode:
    with display() as shown:
        status = await job.wait(timeout=arguments.seconds_of(waiting.timeout), progress=Watcher(shown))
    show.say(show.ending(status))
    if waiting.output is not None:
        session.go_on = f"`backburner results {job.id} -o OUT` writes the results"
        await write_results(job, waiting.output)
    return code_of_job(status)
