"""How fast a pool has been of late, by the names of segments alone, and so how long a job takes: one LIST, few GETs."""

from collections import defaultdict
from itertools import islice

from backburner.ordering.plan import Plan
from backburner.storage import Storage
from backburner.storage.parse import read_manifest, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.job import Cursor, Estimate

_MAX_LISTED_OBJECTS = 1000
"""One page of a LIST. Most jobs' names sort the newest first."""
_MAX_READ_JOBS = 4
_MIN_SEGMENTS = 3
_MIN_SPAN_SECONDS = 2.0
"""Over less, the store's clock is too coarse."""


async def tokens_per_second(storage: Storage, tenant: str, pool: str, *, only_pool: bool) -> float | None:
    """Tokens of prompts and answers that the pool has done in a second, in the newest of the tenant's jobs that tells.

    None where none does. Which pool a job is for is known if its manifest names it, if it was planned, or if there is
    only one pool. Raises `StoreError`.
    """
    for name, written in (await _newest(storage, tenant)).items():
        if (speed := _speed(written)) is not None and (only_pool or await _is_for(storage, tenant, name, pool)):
            return speed
    return None


async def estimate_of(storage: Storage, tenant: str, plan: Plan) -> Estimate:
    """What a planned job is expected to take: how long, only if it is for one pool whose speed is known.

    Raises `StoreError`.
    """
    forecast, speed = plan.forecast, None
    if len(plan.pools) == 1:
        [(pool, _)] = plan.pools
        speed = await tokens_per_second(storage, tenant, pool, only_pool=False)
    return Estimate(
        prefix_hit_ratio=forecast.hit_ratio,
        prompt_tokens=forecast.prompt_tokens,
        completion_tokens=forecast.completion_tokens,
        seconds=(forecast.prompt_tokens + forecast.completion_tokens) / speed if speed else None,
    )


async def _newest(storage: Storage, tenant: str) -> dict[str, list[tuple[float, int]]]:
    """The jobs in the order of the listing, with the times and the tokens of their segments."""
    found: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    start, listed = keys.jobs(tenant), 0
    async for one in storage.scan(start):
        if (segment := keys.SegmentName.parse(one.key)) is not None:
            name = one.key[len(start) :].partition("/")[0]
            found[name].append((one.modified, segment.prompt_tokens + segment.completion_tokens))
        listed += 1
        if listed == _MAX_LISTED_OBJECTS:
            break
    return dict(islice(found.items(), _MAX_READ_JOBS))


def _speed(written: list[tuple[float, int]]) -> float | None:
    """Tokens a second between the first segment and the last, whose tokens were done in that time."""
    (began, tokens_before), *_, (ended, _) = sorted(written) if len(written) > 1 else [(0.0, 0)] * 2
    if len(written) < _MIN_SEGMENTS or ended - began < _MIN_SPAN_SECONDS:
        return None
    return (sum(tokens for _, tokens in written) - tokens_before) / (ended - began) or None


async def _is_for(storage: Storage, tenant: str, name: str, pool: str) -> bool:
    """Whether all of the job is for that pool, as its manifest says, or the cursor of a stored job that was planned."""
    try:
        if (manifest := await read_manifest(storage, tenant, name)) is None:
            return False
        if manifest.pool is not None or manifest.stored is None:
            return manifest.pool == pool
        cursor = await read_stored(storage, Cursor, keys.cursor(tenant, name))
    except StoredObjectBroken:
        return False
    return cursor is not None and cursor.pools == (pool,)
