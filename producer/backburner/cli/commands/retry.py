"""`retry`: the failed part of an ended job becomes a new job."""

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.input_file import readable_twice
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner.cli.terminal.sending import Sending
from backburner_schemas.errors import StoreError
from backburner_schemas.names import Lane

if TYPE_CHECKING:
    from backburner.job import Job


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, retry)


def retry(
    session: Session,
    job: arguments.JobId,
    *,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="What the job was made from, unless that was stored.",
        ),
    ] = None,
    priority: Annotated[
        Lane | None,
        typer.Option(parser=arguments.parse_lane, metavar="LANE", help="Of the new job.", show_default="the job's"),
    ] = None,
    deadline: arguments.Deadline = None,
    tenant: arguments.Tenant = None,
    json: arguments.Json = False,
) -> Coroutine[Any, Any, None]:
    """Run what failed in a job again, as a new job, and print its id.

    Exactly the requests that have no response, under the same custom_ids.
    """
    options = {
        "input": None if given is None else session.keep(readable_twice(given)),
        "priority": priority,
        "deadline": deadline,
        "tenant": tenant,
    }
    return _retry(session, job, options, as_json=json)


async def _retry(session: Session, job: str, options: Mapping[str, Any], *, as_json: bool) -> None:
    session.go_on = "the same command sends the rest"
    async with session.open_client() as client:
        with Sending() as sending:
            made = await client.retry_failed(job, **options, on_progress=sending)
        # All of it is sent: whatever fails from here on, the same command would send it once more.
        session.go_on = f"{made.id} was made, and goes on"
        if not as_json:
            show.out(made.id)
        with Activity("counting its requests"):
            count = await _count(made)
    if as_json:
        show.out_json({"id": made.id, "parent": job, "tenant": made.tenant, "requests": count})
    for warning in made.warnings:
        show.warn(warning)
    if count is not None:
        show.say(f"1 request of {job} runs again" if count == 1 else f"{count:,} requests of {job} run again")


async def _count(made: "Job") -> int | None:
    """How many requests the job has; None, with a warning, where the store does not say."""
    try:
        return (await made.status()).request_counts.total
    except StoreError as error:
        show.warn(f"what failed runs again in {made.id}; how many they are cannot be told: {error.message}")
        return None
