"""`topics ensure`: make a pool, with its topics or queues. The only command that needs the queue's administration."""

from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.arguments import Json
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity


def register(app: typer.Typer) -> None:
    """Add the group."""
    topics = typer.Typer(cls=command.Commands, help="Make the topics of a pool.", add_completion=False)
    command.add(topics, ensure)
    # A group of one command stays a group.
    topics.callback()(_topics)
    app.add_typer(topics, name="topics")


def _topics() -> None:
    """Make the topics of a pool."""


async def ensure(
    session: Session,
    *,
    pool: Annotated[
        str, typer.Option(metavar="MODEL", help="Served name of the base model, exactly as requests name it.")
    ],
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name that requests may have for it; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a pool: its topics, on SQS its queues, and its registration.

    Prints the pool's name and those of its topics. Safe to repeat.
    """
    from backburner.publishers import ensure_topics
    from backburner_schemas.errors import SettingsError
    from backburner_schemas.names import is_model_name
    from backburner_schemas.routing import pool_name

    if not is_model_name(pool):
        raise SettingsError(f"--pool {pool!r} is not a model's name; pass the name that requests have in body.model")
    name = pool_name(pool)
    with Activity("making the topics") as activity:
        made = await ensure_topics(session.settings(), name)
        activity.update("registering the pool")
        async with session.open_client() as client:
            manifest = await client.register_pool(pool)
            if alias:
                manifest = await client.add_aliases(pool, alias)
    if json:
        show.out_json({"pool": name, "model": pool, "aliases": manifest.aliases, "topics": made})
        return
    show.out(f"pool {name}")
    for topic in made:
        show.out(f"topic {topic}")
