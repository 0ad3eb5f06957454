"""`doctor`: whether the deployment that these settings name has what it needs."""

from collections import Counter
from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, doctor)


async def doctor(
    session: Session,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one finding a line, as JSON.")] = False,
) -> ExitCode:
    """Look at store, clock, pools, queue and engine, and say what is wrong and what to do.

    Each line is ok, a warning, or wrong. Exits with 1 if anything is wrong.
    """
    from backburner.doctor.examination import examine
    from backburner.doctor.finding import Level

    counts: Counter[Level] = Counter()
    with Activity("looking at store, queue and engine") as activity:
        async for finding in examine(session.settings(), session.open_storage()):
            activity.rest()
            counts[finding.level] += 1
            if json:
                show.out_json({"subject": finding.subject, "level": finding.level, "message": finding.message})
            else:
                show.out(f"{finding.level:<8} {show.printable(finding.subject)}: {show.printable(finding.message)}")
    bad = counts[Level.WRONG]
    show.say(f"{bad} wrong, {counts[Level.WARNING]} warning(s), {counts[Level.OK]} ok")
    return ExitCode.ENDED_BADLY if bad else ExitCode.OK
