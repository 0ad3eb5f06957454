"""`up` and `down`: the command line of the embedded stack, which is in `backburner.local`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import SettingsError

# One machine and one broker: 64 partitions a lane would only cost start-up time, and there is nothing to replicate to.
_PARTITION_COUNT = 8
_REPLICA_COUNT = 1

_QUEUES = ("kafka", "sqs")
_ENGINES = (EngineKind.VLLM, EngineKind.FAKE)
"""Those that run on this machine."""

_KEY_NAME = "backburner up"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command.add(app, up)
    command.add(app, down)


def up(
    _session: Session,
    *,
    engine: Annotated[
        str, typer.Option(metavar="ENGINE", help=f"One of {', '.join(_ENGINES)}.")
    ] = EngineKind.VLLM.value,
    queue: Annotated[str, typer.Option(metavar="QUEUE", help="One of kafka, sqs.")] = "kafka",
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="A model's folder, or auto for a small one; with --engine fake any name to serve."
        ),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, metavar="N", help="How many; 0 to start them by hand.")] = 1,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all is up; `backburner down` stops it.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where queue and store keep their state.", show_default=".backburner/data"),
    ] = None,
    engine_args: Annotated[
        str | None, typer.Option(metavar="ARGS", help="vLLM's arguments, instead of those for a fast start.")
    ] = None,
    gateway: Annotated[
        bool,
        typer.Option(
            "--gateway", help="Start gateway and dispatcher too, and put what OpenAI's clients need into the settings."
        ),
    ] = False,
    gateway_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Where the gateway listens; implies --gateway.",
            show_default="a free port",
        ),
    ] = None,
) -> int:
    """Start queue, store and workers on this machine.

    They stay up until Ctrl-C, or with --detach until `backburner down`. The settings for all other commands are
    written to .backburner/env: run `. .backburner/env`.
    """
    from backburner import local
    from backburner.settings import QueueKind

    if engine not in _ENGINES:
        raise SettingsError(f"--engine {engine!r} cannot be started here; use one of {', '.join(_ENGINES)}")
    if queue not in _QUEUES:
        raise SettingsError(f"--queue {queue!r} is unknown; use one of {', '.join(_QUEUES)}")
    options = local.UpOptions(
        engine=EngineKind(engine),
        queue=QueueKind(queue),
        model=model,
        served_name=os.environ.get("BACKBURNER_SERVED_NAME") or None,
        workers=workers,
        data=data,
        engine_args=engine_args,
        gateway=gateway or gateway_port is not None,
        gateway_port=gateway_port,
    )
    if detach:
        return local.run_up_detached(options, say=show.say)
    return local.run_up(options, say=show.say, preparation=local.Preparation(ensure_pool, ensure_api_key))


def down(_session: Session) -> int:
    """Stop what `up` started in this folder."""
    from backburner import local

    with Activity("waiting for the stack to stop") as activity:

        def say(line: str) -> None:
            activity.rest()
            show.say(line)

        return local.run_down(Path.cwd(), say=say)


async def ensure_pool(stack: Mapping[str, str], model: str) -> None:
    """Make the topics or queues of the model's pool and register it, given the stack's settings as variables."""
    from backburner.client import Client
    from backburner.publishers import ensure_topics
    from backburner.settings import Settings
    from backburner_schemas.routing import pool_name

    with _environment(stack):
        settings = Settings.load(
            topic_partitions=None if "BACKBURNER_TOPIC_PARTITIONS" in stack else _PARTITION_COUNT,
            topic_replication=None if "BACKBURNER_TOPIC_REPLICATION" in stack else _REPLICA_COUNT,
        )
        await ensure_topics(settings, pool_name(model))
        async with Client(settings) as client:
            await client.register_pool(model)


async def ensure_api_key(stack: Mapping[str, str], last: str | None) -> str:
    """An API key that reads and writes as the user's tenant: the last one where it is still accepted, or a new one."""
    from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
    from backburner.gateway.auth.api_key_store import ApiKeyStore
    from backburner.gateway.auth.principal import Scope
    from backburner.settings import Settings
    from backburner.storage import Storage
    from backburner_schemas.errors import Unauthenticated

    with _environment(stack):
        settings = Settings.load()
        storage = Storage.open(settings)
        if last is not None:
            with suppress(Unauthenticated):
                await ApiKeyAuthenticator(storage).verify(last)
                return last
        made, _ = await ApiKeyStore(storage).create(settings.tenant, _KEY_NAME, (Scope.READ, Scope.WRITE))
        return made


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Within the block these variables are set: the store's own chain reads its credentials from there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
