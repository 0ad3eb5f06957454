"""`retry`: the failed part of an ended job becomes a new job."""

from pathlib import Path
from typing import Annotated

import typer

from backburner.cli import arguments, command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.sending import Sending
from backburner_schemas.names import Lane


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, retry)


async def retry(
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
) -> None:
    """Run what failed in a job again, as a new job, and print its id.

    Exactly the requests that have no response, under the same custom_ids.
    """
    session.on_interrupt = "interrupted; the same command sends the rest"
    async with session.open_client() as client:
        with Sending() as sending:
            made = await client.retry_failed(
                job, input=given, priority=priority, deadline=deadline, tenant=tenant, on_progress=sending
            )
        count = (await made.status()).request_counts.total
    if json:
        show.out_json({"id": made.id, "parent": job, "tenant": made.tenant, "requests": count})
    else:
        show.out(made.id)
    for warning in made.warnings:
        show.warn(warning)
    show.say(f"1 request of {job} runs again" if count == 1 else f"{count:,} requests of {job} run again")
