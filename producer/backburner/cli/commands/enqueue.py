"""`enqueue`: one prompt onto the queue."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.input_file import STDIN, read_prompt
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import Lane
from backburner_schemas.result import encode_record


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, enqueue)


def enqueue(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The prompt; - reads it from stdin.")],
    *,
    model: arguments.Model = None,
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
) -> Coroutine[Any, Any, ExitCode]:
    """Put one prompt on the queue, and print its id.

    `backburner results ID` reads the answer later; --wait waits for it.
    """
    if timeout is not None and not wait:
        raise SettingsError("--timeout needs --wait")
    prompt = read_prompt() if text == STDIN else text
    if not prompt.strip():
        raise SettingsError("the prompt is empty; pass a text")
    named = {"max_tokens": max_tokens, "temperature": temperature}
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    options = {
        # As a body: a parameter may have the name of an argument.
        "body": {
            **{name: value for name, value in named.items() if value is not None},
            **arguments.parameters_of(param or ()),
            "messages": messages,
        },
        "model": model,
        "priority": priority,
        "deadline": deadline,
        "pool": pool,
        "tenant": tenant,
    }
    return _enqueue(session, options, wait=wait, timeout=arguments.seconds_of(timeout), as_json=json)


async def _enqueue(
    session: Session, options: Mapping[str, Any], *, wait: bool, timeout: float | None, as_json: bool
) -> ExitCode:
    from backburner.handle import RequestFailed

    async with session.open_client() as client:
        with Activity("putting the request onto the queue"):
            try:
                handle = await client.enqueue(**options)
            except asyncio.CancelledError as error:
                session.go_on = "; ".join(getattr(error, "__notes__", ()))
                raise
        session.go_on = f"`backburner results {handle.id}` reads the answer later"
        for warning in handle.warnings:
            show.warn(warning)
        if not wait:
            show.out_json({"id": handle.id, "key": handle.key}) if as_json else show.out(handle.id)
            return ExitCode.OK
        show.say(handle.id)
        try:
            with Activity("waiting for the answer"):
                record = await handle.result(timeout=timeout)
        except RequestFailed as failure:
            if as_json:
                show.out_bytes(encode_record(failure.record))
            raise
        show.out_bytes(encode_record(record)) if as_json else show.out(record.text)
    return ExitCode.OK
