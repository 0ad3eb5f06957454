"""All the looks, one after the other: each bounded, and none kept from its turn by what another finds."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from backburner.doctor.engine import examine_engine, works_here
from backburner.doctor.finding import Finding, ok, warning, wrong
from backburner.doctor.queue import examine_queue
from backburner.doctor.store import examine_store
from backburner.pools import PoolDirectory, PoolStatus
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import BackburnerError

_STORE_SECONDS = 20.0
_QUEUE_SECONDS = 60.0
"""For all pools together; a server that is away is told sooner."""


async def examine(settings: Settings, storage: Storage) -> AsyncGenerator[Finding]:
    """Every finding, as it is made. Raises nothing of Backburner's own: what fails is a finding."""
    async for finding in _bounded("store", _STORE_SECONDS, lambda: examine_store(storage)):
        yield finding
    pools: list[PoolStatus] = []
    async for finding in _bounded("pools", _STORE_SECONDS, lambda: _pools(storage, pools)):
        yield finding
    async for finding in _bounded("queue", _QUEUE_SECONDS, lambda: examine_queue(settings, pools)):
        yield finding
    if works_here(os.environ):
        yield await examine_engine()


async def _pools(storage: Storage, found: list[PoolStatus]) -> AsyncGenerator[Finding]:
    """Findings about pools; what there is of them goes into `found`."""
    found += await PoolDirectory(storage).read()
    if not found:
        yield warning("pools", "there are none", "make one with `backburner topics ensure --pool MODEL`")
    for status in found:
        subject = f"pool {status.pool}"
        if status.live:
            yield ok(subject, f"{len(status.workers)} live worker(s) serve {status.model}")
        else:
            yield warning(
                subject,
                f"no live worker serves {status.model}, so its requests wait",
                f"start one with BACKBURNER_SERVED_NAME={status.model}, or look at `/readyz` of those there are",
            )


async def _bounded(
    subject: str, seconds: float, look: Callable[[], AsyncGenerator[Finding]]
) -> AsyncGenerator[Finding]:
    """What the look finds within that time; its failure, as one more finding."""
    try:
        async with asyncio.timeout(seconds), aclosing(look()) as findings:
            async for finding in findings:
                yield finding
    except BackburnerError as error:
        yield wrong(subject, *_parted(error.message))
    except TimeoutError:
        yield wrong(
            subject, f"no answer within {seconds:.0f} s", "check its address, and that nothing on the way drops packets"
        )


def _parted(message: str) -> tuple[str, str]:
    """An error's message, which has its remedy behind a semicolon."""
    said, separator, remedy = message.rpartition("; ")
    return (said, remedy) if separator else (message, "run this again with -v for the cause")
