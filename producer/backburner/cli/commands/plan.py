"""`plan`: what a file of requests would take as a stored job. Nothing is sent."""

from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.input_file import readable_twice
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.refusals import listed
from backburner.cli.terminal.sending import Sending

if TYPE_CHECKING:
    from backburner.submission.forecast import JobForecast


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, plan)


def plan(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Requests in OpenAI's batch form, JSONL, also gzipped; - for stdin.")
    ],
    *,
    pool: arguments.Pool = None,
    tenant: arguments.Tenant = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Skip the lines that cannot be accepted, and plan the rest.")
    ] = False,
    cache_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, show_default="65536", help="KV tokens that an engine's cache holds."),
    ] = None,
    json: arguments.Json = False,
) -> Coroutine[Any, Any, None]:
    """Show what a file of requests would take, and what sending it in a better order gains.

    Nothing is sent. The order is that in which a dispatcher sends stored jobs.
    """
    from backburner.submission.forecast import DEFAULT_CACHE_TOKENS

    options = {
        "pool": pool,
        "tenant": tenant,
        "skip_invalid": skip_invalid,
        "cache_tokens": DEFAULT_CACHE_TOKENS if cache_tokens is None else cache_tokens,
    }
    return _plan(session, file, session.keep(readable_twice(file)), options, as_json=json)


async def _plan(session: Session, file: Path, source: Path, options: Mapping[str, Any], *, as_json: bool) -> None:
    from backburner.inputs.findings import InvalidInput

    async with session.open_client() as client:
        with Sending() as reading:
            try:
                found = await client.plan(source, **options, on_progress=reading.checked)
            except InvalidInput as error:
                reading.close()
                raise listed(file, error, "plan") from error
    for warning in found.warnings:
        show.warn(warning)
    if as_json:
        show.out_json({**asdict(found), "seconds": found.seconds})
    else:
        show.out(_lines(found))


def _lines(found: "JobForecast") -> str:
    """The forecast as `name  value` lines."""
    speed = found.tokens_per_second
    time = "not known: no recent job of the pool shows its speed"
    if found.seconds is not None and speed is not None:
        time = f"about {timedelta(seconds=round(found.seconds))}, at {speed:,.0f} tokens/s as of late"
    return show.named_lines(
        [
            ("requests", f"{found.requests:,} in {found.groups:,} group{'' if found.groups == 1 else 's'}"),
            *((f"pool {name}", f"{count:,} requests") for name, count in found.pools.items()),
            ("tokens", f"about {found.prompt_tokens:,} in, {found.completion_tokens:,} out at most"),
            ("planned order", _cached(found.hit_ratio, found.found_ratio)),
            ("file's order", _cached(found.file_order_hit_ratio, found.file_order_found_ratio)),
            ("time", time),
        ]
    )


def _cached(hit_ratio: float, found_ratio: float) -> str:
    return f"{hit_ratio:.0%} of the requests find in the cache what they share, {found_ratio:.0%} of the prompt tokens"
