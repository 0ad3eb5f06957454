"""`pools`: what there is to send requests to."""

from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.session import Session
from backburner.cli.terminal import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, pools)


async def pools(
    session: Session, *, json: Annotated[bool, typer.Option("--json", help="Print one pool a line, as JSON.")] = False
) -> None:
    """List pools, with the models and adapters that requests can name.

    Workers and adapters are those that are alive now.
    """
    async with session.open_client() as client:
        found = await client.pools()
    if json:
        for one in found:
            workers = [worker.worker for worker in one.workers]
            show.out_json({"pool": one.pool, "model": one.model, "workers": workers, "adapters": one.adapters})
    elif found:
        rows = [(one.pool, one.model, f"{len(one.workers)}", ", ".join(one.adapters) or "-") for one in found]
        shown = [tuple(show.printable(cell) for cell in row) for row in rows]
        show.table(("POOL", "MODEL", "WORKERS", "ADAPTERS"), shown, right=frozenset({2}))
    else:
        show.say("there are no pools yet; `backburner topics ensure --pool MODEL` makes one")
