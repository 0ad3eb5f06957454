"""`pools`: what there is to send requests to, by which names, and taking one away. Making one is `topics ensure`'s."""

from typing import Annotated

import typer

from backburner.cli import arguments, command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity


def register(app: typer.Typer) -> None:
    """Add the group, which lists pools where no command of it is named."""
    group = typer.Typer(cls=command.Commands, add_completion=False)
    command.add_default(group, pools)
    command.add(group, alias)
    command.add(group, remove)
    app.add_typer(group, name="pools")


async def pools(
    session: Session, *, json: Annotated[bool, typer.Option("--json", help="Print one pool a line, as JSON.")] = False
) -> None:
    """List pools, with the models, aliases and adapters that requests can name.

    Workers and adapters are those that are alive now.
    """
    async with session.open_client() as client:
        with Activity("reading the pools"):
            found = await client.pools()
    if json:
        for one in found:
            workers = [worker.worker for worker in one.workers]
            show.out_json(
                {
                    "pool": one.pool,
                    "model": one.model,
                    "aliases": one.aliases,
                    "workers": workers,
                    "adapters": one.adapters,
                }
            )
    elif found:
        rows = [
            (
                *(one.pool, one.model, ", ".join(one.aliases) or "-"),
                *(f"{len(one.workers)}", ", ".join(one.adapters) or "-"),
            )
            for one in found
        ]
        shown = [tuple(show.printable(cell) for cell in row) for row in rows]
        show.table(("POOL", "MODEL", "ALIASES", "WORKERS", "ADAPTERS"), shown, right=frozenset({3}))
    else:
        show.say("there are no pools yet; `backburner topics ensure --pool MODEL` makes one")


async def alias(
    session: Session,
    pool: arguments.PoolToChange,
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Other names of the model.")],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take these names away instead.")] = False,
    json: arguments.Json = False,
) -> None:
    """Have a pool's model answer to other names too.

    Requests that name gpt-4o-mini, for one, go to the pool whose alias that is, and its model answers.
    """
    async with session.open_client() as client:
        with Activity("changing the pool"):
            changed = await (client.remove_aliases if remove else client.add_aliases)(pool, names)
    if json:
        show.out_json({"pool": changed.pool, "model": changed.model, "aliases": changed.aliases})
    else:
        show.say(
            f"{changed.model} of the pool {changed.pool} answers to {', '.join((changed.model, *changed.aliases))}"
        )


async def remove(
    session: Session,
    pool: arguments.PoolToChange,
    *,
    json: arguments.Json = False,
) -> None:
    """Remove a pool that no worker works for.

    Clients that run already go on sending to it. Its topics or queues stay, and what is on them is not answered until
    the pool is registered again.
    """
    async with session.open_client() as client:
        with Activity("removing the pool"):
            removed = await client.remove_pool(pool)
    if json:
        show.out_json({"pool": removed.pool, "model": removed.model})
    else:
        of_model = f" of {show.printable(removed.model)}" if removed.model else ", whose registration was broken"
        show.say(
            f"removed the pool {removed.pool}{of_model}; its topics or queues stay, and clients that run already go on "
            "sending to it: restart them"
        )
