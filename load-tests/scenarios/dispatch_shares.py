"""How twenty tenants share a dispatcher, one of which has a hundred times the work of the others.

Shares are counted on the queue itself. The pool has no worker until all of the jobs are planned; then one is announced,
and what was sent when the first small tenant is through is what each got while all of them wanted it.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import Cursor
from measuring.dispatching import announce, dispatcher, store
from measuring.part import Part
from measuring.servers import servers
from measuring.shared_prefixes import REQUESTS_PER_PREFIX, shuffled_lines
from measuring.topic_log import records

TENANT_COUNT = 20
LARGE_REQUESTS_PER_SMALL = 100
"""Requests of the large tenant for each of a small one."""
_LARGE = "tenant-0"
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 300.0
_SHOWN_CHARACTERS = 2000


def shares(requests: int) -> Counter[str]:
    """How many requests of each tenant were sent until the first small one had all of its, so many, sent."""
    with servers("fake", durable=False):
        jobs = {}
        for number in range(TENANT_COUNT):
            tenant = f"tenant-{number}"
            times = LARGE_REQUESTS_PER_SMALL if number == 0 else 1
            lines = shuffled_lines("fake", times * requests // REQUESTS_PER_PREFIX, seed=number, blocks=1)
            jobs[tenant] = asyncio.run(store(lines, tenant))
        with dispatcher() as running:
            asyncio.run(_until_planned(running, jobs))
            asyncio.run(announce(Storage.open(Settings.load()), "fake"))
            asyncio.run(_until_one_is_sent(running, {one: jobs[one] for one in jobs if one != _LARGE}))
        sent = asyncio.run(records("fake"))
    found = Counter(dict.fromkeys(jobs, 0))
    for record in sent:
        tenant = _tenant_of(record.value)
        found[tenant] += 1
        if tenant != _LARGE and found[tenant] == requests:
            break
    print(f"sent until one of {TENANT_COUNT} tenants was through: {dict(found)}", flush=True)
    return found


def _tenant_of(value: bytes) -> str:
    begin = value[: value.index(b',"job"')]
    return str(json.loads(begin + b"}")["tenant"])


async def _until_planned(running: Part, jobs: Mapping[str, str]) -> None:
    storage = Storage.open(Settings.load())

    async def planned(tenant: str, job: str) -> bool:
        stored = await storage.get(keys.cursor(tenant, job))
        return stored is not None and Cursor.model_validate_json(stored.data).total is not None

    await _until(running, lambda: _all(planned(*names) for names in jobs.items()))


async def _until_one_is_sent(running: Part, jobs: Mapping[str, str]) -> None:
    storage = Storage.open(Settings.load())

    async def unsent(tenant: str, job: str) -> bool:
        return await storage.get(keys.sealed(tenant, job)) is None

    async def one_is() -> bool:
        return not await _all(unsent(*names) for names in jobs.items())

    await _until(running, one_is)


async def _all(asked: Iterable[Awaitable[bool]]) -> bool:
    return all(await asyncio.gather(*asked))


async def _until(running: Part, done: Callable[[], Awaitable[bool]]) -> None:
    """Raises `RuntimeError` if that takes too long, and what ended the dispatcher."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not await done():
        running.check()
        if time.monotonic() > deadline:
            last = running.log[-_SHOWN_CHARACTERS:]
            raise RuntimeError(f"the dispatcher did not get there in {_PATIENCE_SECONDS:.0f} s:\n{last}")
        await asyncio.sleep(_POLL_SECONDS)
