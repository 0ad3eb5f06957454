"""`enqueue`: one prompt onto the queue."""

import sys
from typing import Annotated

import typer

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import Lane
from backburner_schemas.result import encode_record


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, enqueue)


async def enqueue(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The prompt; - reads it from stdin.")],
    *,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model; may be left out where there is one pool.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told before the prompt.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help="Tokens of the answer at most.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, metavar="T", help="How freely it is sampled; 0 is not at all.")
    ] = None,
    param: arguments.Parameters = None,
    pool: arguments.Pool = None,
    priority: arguments.Priority = Lane.NORMAL,
    deadline: arguments.Deadline = None,
    tenant: arguments.Tenant = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer and print its text.")] = False,
    timeout: arguments.Timeout = None,
    json: arguments.Json = False,
) -> ExitCode:
    """Put one prompt on the queue, and print its id.

    `backburner results ID` reads the answer later; --wait waits for it.
    """
    from backburner.handle import RequestFailed

    if timeout is not None and not wait:
        raise SettingsError("--timeout needs --wait")
    prompt = sys.stdin.read() if text == "-" else text
    if not prompt.strip():
        raise SettingsError("the prompt is empty; pass a text")
    named = {"max_tokens": max_tokens, "temperature": temperature}
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    async with session.open_client() as client:
        handle = await client.enqueue(
            # As a body: a parameter may have the name of an argument.
            body={
                **{name: value for name, value in named.items() if value is not None},
                **arguments.parameters_of(param or ()),
                "messages": messages,
            },
            model=model,
            priority=priority,
            deadline=deadline,
            pool=pool,
            tenant=tenant,
        )
        for warning in handle.warnings:
            show.warn(warning)
        if not wait:
            show.out_json({"id": handle.id, "key": handle.key}) if json else show.out(handle.id)
            return ExitCode.OK
        show.say(handle.id)
        session.on_interrupt = f"interrupted; `backburner results {handle.id}` reads the answer later"
        try:
            record = await handle.result(timeout=timeout.total_seconds() if timeout else None)
        except RequestFailed as failure:
            if json:
                show.out_bytes(encode_record(failure.record))
            raise
        show.out_bytes(encode_record(record)) if json else show.out(record.text)
    return ExitCode.OK
