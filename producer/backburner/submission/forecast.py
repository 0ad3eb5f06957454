"""What a file of requests would take as a stored job: it is read, checked and planned, and nothing is sent."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backburner.connections import Connections
from backburner.inputs.files import read_pieces
from backburner.inputs.findings import InvalidInput
from backburner.inputs.validation import Checker
from backburner.jobs.speed import tokens_per_second
from backburner.ordering.forecast import Forecast
from backburner.ordering.index import OrderIndex
from backburner.ordering.survey import survey
from backburner.temporary_files import temporary_files

DEFAULT_CACHE_TOKENS = 65_536
"""KV tokens that an engine's cache is taken to hold, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class JobForecast:
    """What a file of requests is expected to take, in the order in which a dispatcher would send it."""

    requests: int
    """Requests in the file."""
    groups: int
    """Groups of requests that begin alike; each goes to one worker."""
    pools: Mapping[str, int]
    """Requests for each pool."""
    prompt_tokens: int
    """Tokens of all prompts: one for four bytes."""
    completion_tokens: int
    """Tokens of all answers at most; of a request that sets no limit, 256."""
    hit_ratio: float
    """Share of the requests that find in the engine's cache most of what they share with any other of the file."""
    found_ratio: float
    """Share of the prompt tokens that the engine finds there, so that it need not compute them."""
    file_order_hit_ratio: float
    """The same share of the requests, if they were sent in the order of the file to one engine."""
    file_order_found_ratio: float
    """The same share of the prompt tokens."""
    tokens_per_second: float | None
    """What the pool has done of late, tokens of prompts and answers; None where that is not known."""
    warnings: tuple[str, ...] = ()
    """Pools that have no live worker."""

    @property
    def seconds(self) -> float | None:
        """How long it takes at that speed; None where it is not known."""
        if not self.tokens_per_second:
            return None
        return (self.prompt_tokens + self.completion_tokens) / self.tokens_per_second


async def forecast_job(
    connections: Connections,
    path: Path,
    *,
    tenant: str,
    pool: str | None,
    skip_invalid: bool,
    cache_tokens: int,
    report: Callable[[int], None] | None = None,
) -> JobForecast:
    """Read the file and plan it.

    Raises `InvalidInput` with what is wrong with it, `TemporaryFilesError`, and `StoreError`.
    """
    max_bytes = connections.settings.max_body_bytes
    with (
        temporary_files(),
        closing(Checker(max_bytes=max_bytes, router=connections.pools, pool=pool)) as checker,
        closing(OrderIndex(file_order_cache=cache_tokens)) as index,
    ):
        found = await survey(read_pieces(path), checker, index, max_bytes=max_bytes, report=report)
        if found.findings.total and not (skip_invalid and found.count):
            raise InvalidInput.of(found.findings, accepted=found.count)
        if not found.count:
            raise InvalidInput("the input holds no request; it needs at least one line")
        with await asyncio.to_thread(index.plan, found.digest) as plan:
            pools, forecast = dict(plan.pools), plan.forecast
    speed = await _speed(connections, tenant, [*pools])
    return _of(forecast, pools, speed, connections.pools.warnings({*pools}))


async def _speed(connections: Connections, tenant: str, pools: list[str]) -> float | None:
    """Of a job for several pools it is not known which of them takes longest."""
    if len(pools) > 1:
        return None
    only_pool = len(await connections.pools.read()) == 1
    return await tokens_per_second(connections.storage, tenant, pools[0], only_pool=only_pool)


def _of(forecast: Forecast, pools: Mapping[str, int], speed: float | None, warnings: list[str]) -> JobForecast:
    return JobForecast(
        requests=forecast.requests,
        groups=forecast.groups,
        pools=pools,
        prompt_tokens=forecast.prompt_tokens,
        completion_tokens=forecast.completion_tokens,
        hit_ratio=forecast.hit_ratio,
        found_ratio=forecast.found_ratio,
        file_order_hit_ratio=forecast.file_order_hit_ratio or 0.0,
        file_order_found_ratio=forecast.file_order_found_ratio or 0.0,
        tokens_per_second=speed,
        warnings=tuple(warnings),
    )
