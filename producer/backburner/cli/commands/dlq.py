"""`dlq`: the dead letters, listed, shown, sent again and removed."""

import dataclasses
import sys
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner_schemas.errors import SettingsError, StoreDenied

if TYPE_CHECKING:
    from backburner.client import Client
    from backburner.dead_letters.letter import DeadLetter
    from backburner.dead_letters.redrive import RedriveResult

_MAX_SHOWN_LETTERS = 100
"""Letters that are listed by default, as a table."""
_MESSAGE_CHARACTERS = 70
_NAME_CHARACTERS = 40
"""Characters of a message and a custom_id in a table; `dlq show` prints all."""
_HEADER = ("ID", "CUSTOM_ID", "CODE", "ATTEMPTS", "FAILED", "MESSAGE")

LetterId = Annotated[str, typer.Argument(metavar="ID", help="The letter's id, as `dlq list` shows it.")]
OneLetter = Annotated[str | None, typer.Option("--id", metavar="ID", help="This letter, by its id.")]
OfJob = Annotated[str | None, typer.Option(metavar="JOB", callback=arguments.valid_name, help="The letters of a job.")]
All = Annotated[bool, typer.Option("--all", help="All letters of the tenant.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    dlq = typer.Typer(cls=command.Commands, help="Dead letters: list, show, redrive, purge.", add_completion=False)
    command.add(dlq, list_letters, "list")
    command.add(dlq, show_letter, "show")
    command.add(dlq, redrive)
    command.add(dlq, purge)
    app.add_typer(dlq, name="dlq")


async def list_letters(
    session: Session,
    *,
    job: OfJob = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Also those whose requests have a response after all.")
    ] = False,
    unaddressed: Annotated[
        bool, typer.Option("--unaddressed", help="Those of messages that belong to no request, and so to no tenant.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many.", show_default=f"{_MAX_SHOWN_LETTERS}; with --json all"),
    ] = None,
    tenant: arguments.Tenant = None,
    json: Annotated[bool, typer.Option("--json", help="Print one letter a line, as JSON.")] = False,
) -> None:
    """List dead letters, by job."""
    if unaddressed and job is not None:
        raise SettingsError("--unaddressed letters belong to no job; omit --job")
    most = limit if limit is not None or json else _MAX_SHOWN_LETTERS
    rows: list[tuple[str, ...]] = []
    seen = stuck = 0
    async with session.open_client() as client:
        with Activity("reading the dead letters") as activity:
            # One more than is shown, to know whether there are more.
            async for letter in client.dead_letters(job, tenant=tenant, stale=stale, unaddressed=unaddressed):
                seen += 1
                if most is not None and seen > most:
                    break
                stuck += letter.problem is not None and not unaddressed
                if json:
                    activity.rest()
                    show.out_json(letter_json(letter))
                else:
                    rows.append(_row(letter))
            others = not (json or unaddressed or job is not None) and await _has_unaddressed(client)
    if rows:
        show.table(_HEADER, rows, right=frozenset({3}))
    if not seen:
        show.say("there are no dead letters" + (f" of job {job}" if job is not None else ""))
    if others:
        show.say("messages that belong to no request left letters; `backburner dlq list --unaddressed` shows them")
    if most is not None and seen > most:
        show.say(f"there are more than {most:,}; --limit N shows more, --json all of them")
    if stuck:
        show.warn(f"{stuck:,} of them cannot be redriven; `backburner dlq show ID` shows why")


async def _has_unaddressed(client: "Client") -> bool:
    """Whether there are letters that belong to no tenant; False for a user who may not see them."""
    try:
        async with aclosing(client.dead_letters(unaddressed=True)) as letters:
            return await anext(letters, None) is not None
    except StoreDenied:
        return False


async def show_letter(
    session: Session, letter: LetterId, *, tenant: arguments.Tenant = None, json: arguments.Json = False
) -> None:
    """Show a dead letter with all that is known of it."""
    async with session.open_client() as client:
        with Activity("reading the dead letter"):
            found = await client.dead_letter(letter, tenant=tenant)
    if json:
        show.out_json(letter_json(found))
    else:
        show.out(_described(found))


async def redrive(
    session: Session,
    *,
    job: OfJob = None,
    letter: OneLetter = None,
    everything: All = False,
    deadline: arguments.Deadline = None,
    tenant: arguments.Tenant = None,
    json: arguments.Json = False,
) -> ExitCode:
    """Send dead letters again: those of a job, one, or all.

    The letters of a job go into a new job, whose id is printed. Exits with 1 if any could not be sent.
    """
    _check_one(job=job, id=letter, all=everything)
    session.go_on = "the same command completes what was begun"
    async with session.open_client() as client:
        with Activity("sending dead letters again"):
            done = await client.redrive(job=job, id=letter, all=everything, deadline=deadline, tenant=tenant)
    if json:
        show.out_json(dataclasses.asdict(done))
    else:
        for made in done.jobs:
            show.out(made.id)
    _report(done)
    return ExitCode.ENDED_BADLY if done.kept_total else ExitCode.OK


def _report(done: "RedriveResult") -> None:
    for made in done.jobs:
        show.say(f"{_letters(made.requests)} of {made.parent} went into the new job {made.id}")
    if done.republished:
        show.say(f"{_letters(done.republished)} of streams and single requests went back onto the queue")
    if done.stale:
        show.say(f"{_letters(done.stale)} skipped: their requests have a response")
    if not (done.jobs or done.republished or done.stale or done.kept_total):
        show.say("there are no dead letters to redrive")
    for warning in done.warnings:
        show.warn(warning)
    for kept in done.kept[: show.MAX_SHOWN_FINDINGS]:
        show.warn(f"{kept.id} stays: {kept.reason}")
    if (more := done.kept_total - show.MAX_SHOWN_FINDINGS) > 0:
        show.warn(f"and {more:,} more stay")


def purge(
    session: Session,
    *,
    job: OfJob = None,
    letter: OneLetter = None,
    everything: All = False,
    unaddressed: Annotated[
        bool, typer.Option("--unaddressed", help="The letters of messages that belong to no request.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    tenant: arguments.Tenant = None,
    json: arguments.Json = False,
) -> Coroutine[Any, Any, ExitCode] | ExitCode:
    """Remove dead letters for good: those of a job, one, or all."""
    given: dict[str, Any] = {"job": job, "id": letter, "all": everything, "unaddressed": unaddressed}
    chosen = _chosen(session, tenant=tenant, **given)
    if not yes:
        if not asked():
            raise SettingsError(f"this removes {chosen} for good; pass --yes where no terminal can ask")
        if not _confirmed(f"Remove {chosen} for good?"):
            show.say("nothing was removed")
            return ExitCode.ENDED_BADLY
    return _purge(session, tenant, given, as_json=json)


async def _purge(session: Session, tenant: str | None, given: Mapping[str, Any], *, as_json: bool) -> ExitCode:
    session.go_on = "the same command removes the rest"
    async with session.open_client() as client:
        with Activity("removing dead letters"):
            removed = await client.purge_dead_letters(**given, tenant=tenant)
    if as_json:
        show.out_json({"removed": removed})
    else:
        show.say(f"removed {_letters(removed)}")
    return ExitCode.OK


def asked() -> bool:
    """Whether a terminal can ask the user."""
    return sys.stdin.isatty()


def _confirmed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as error:
        raise KeyboardInterrupt from error


def _chosen(session: Session, *, tenant: str | None, **given: str | bool | None) -> str:
    """What is to be removed, in words. Raises `JobError` unless exactly one thing was named."""
    _check_one(**given)
    if given["unaddressed"]:
        return "the dead letters that belong to no request"
    if given["all"]:
        return f"all dead letters of the tenant {tenant or session.settings().tenant}"
    return f"the dead letter {given['id']}" if given["id"] else f"the dead letters of job {given['job']}"


def _check_one(**given: str | bool | None) -> None:
    """Raise `JobError`, naming the options, unless exactly one of these was given."""
    from backburner.dead_letters.store import check_one

    check_one({f"--{name}": value for name, value in given.items()})


def letter_json(letter: "DeadLetter") -> dict[str, Any]:
    """The letter as JSON; raw bytes in base64."""
    import base64

    found = {one.name: getattr(letter, one.name) for one in dataclasses.fields(letter)}
    return {**found, "raw": base64.b64encode(letter.raw).decode() if letter.raw is not None else None}


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def _row(letter: "DeadLetter") -> tuple[str, ...]:
    return (
        letter.id,
        show.cut(letter.custom_id or "-", _NAME_CHARACTERS),
        show.cut(letter.code + (" (stale)" if letter.stale else ""), _NAME_CHARACTERS),
        f"{letter.attempts}",
        show.moment(letter.failed_at) if letter.failed_at else "-",
        show.cut(letter.message, _MESSAGE_CHARACTERS),
    )


def _described(letter: "DeadLetter") -> str:
    """The letter as `name  value` lines, with its request or its bytes below them."""
    import json

    rows = {
        "id": letter.id,
        "tenant": letter.tenant,
        "custom_id": letter.custom_id,
        "code": letter.code,
        "message": letter.message,
        "attempts": f"{letter.attempts}",
        "suspect": "yes" if letter.suspect else "no",
        "worker": letter.worker,
        "queue": letter.queue,
        "position": letter.position,
        "failed": show.moment(letter.failed_at) if letter.failed_at else None,
        "stale": "yes: the request has a response" if letter.stale else None,
        "redrive": f"no: {letter.problem}" if letter.problem is not None else None,
    }
    lines = show.named_lines([(name, value) for name, value in rows.items() if value])
    envelope = letter.envelope
    if envelope is not None:
        where = f"stored at {envelope.body_ref}" if envelope.body is None else ""
        body = where or json.dumps(envelope.body, indent=2, ensure_ascii=False)
        return f"{lines}\n\n{envelope.url}\n{body}"
    if letter.raw is not None:
        return f"{lines}\n\n{len(letter.raw):,} bytes\n{show.printable(letter.raw.decode(errors='backslashreplace'))}"
    return lines
