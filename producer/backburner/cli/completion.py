"""What a shell's Tab key offers beside commands and options: names that are read when they are asked for.

Nothing is offered where store or file do not answer soon, or at all: an error in the middle of a line helps nobody.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from backburner.cli.session import Session

if TYPE_CHECKING:
    from backburner.client import Client

_WAIT_SECONDS = 2.0
"""Nobody waits longer for a completion."""
_MAX_JOBS = 50
"""Jobs that are looked at: the newest."""

Offers = list[tuple[str, str]]
"""What can be typed, and a word about each, which zsh and fish show."""


def jobs(context: typer.Context, incomplete: str) -> Offers:
    """The ids of the newest jobs and streams of the tenant."""

    async def read(client: "Client") -> Offers:
        tenant = context.params.get("tenant")
        found = [(one.id, str(one.status)) async for one in client.jobs(tenant=tenant, limit=_MAX_JOBS)]
        return found + [(one.id, "stream") async for one in client.streams(tenant=tenant, limit=_MAX_JOBS)]

    return _offered(context, incomplete, read)


def pools(context: typer.Context, incomplete: str) -> Offers:
    """The names of the pools."""

    async def read(client: "Client") -> Offers:
        return [(one.pool, one.model) for one in await client.pools()]

    return _offered(context, incomplete, read)


def models(context: typer.Context, incomplete: str) -> Offers:
    """Every name that a request may have for a model."""

    async def read(client: "Client") -> Offers:
        return [(name, one.pool) for one in await client.pools() for name in (one.model, *one.aliases, *one.adapters)]

    return _offered(context, incomplete, read)


def profiles(_context: typer.Context, incomplete: str) -> Offers:
    """The names of the profiles."""
    from backburner.settings.profile import read_profiles
    from backburner_schemas.errors import SettingsError

    try:
        return [(one.name, "") for one in read_profiles() if one.name.startswith(incomplete)]
    except SettingsError:
        return []


def _offered(context: typer.Context, incomplete: str, read: Callable[["Client"], Awaitable[Offers]]) -> Offers:
    session = context.find_object(Session) or Session()
    for name in ("profile", "queue_url", "store_url"):
        # A shell's words are parsed, but no command and no callback is run.
        setattr(session, name, context.find_root().params.get(name) or getattr(session, name))

    async def ask() -> Offers:
        async with asyncio.timeout(_WAIT_SECONDS), session.open_client() as client:
            return await read(client)

    try:
        found = asyncio.run(ask())
    except Exception:  # noqa: BLE001 - whatever it is, the user is in the middle of a line
        return []
    # What is not plain typer would read as markup, and zsh as commands.
    return [
        (name, word if _is_plain(word) else "")
        for name, word in found
        if name.startswith(incomplete) and _is_plain(name)
    ]


def _is_plain(text: str) -> bool:
    """Whether the text means nothing but itself to a shell."""
    return shlex.quote(text) == text
