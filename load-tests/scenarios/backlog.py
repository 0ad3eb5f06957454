"""Whether a worker's memory depends on what waits for it: backlogs of very different depth, a fresh worker on each.

A deep backlog is not drained: each worker carries the same number of requests at full speed, over an engine that costs
nothing, while all the rest waits. A shallow one is filled up again as it is drained.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic_core import to_json

from backburner.publishers.kafka.publisher import kafka_connection
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.names import Lane
from measuring.child import Child
from measuring.figures import Bound, Curve, Figures
from measuring.servers import servers
from scenarios.control_plane import chat_lines, workers

BACKLOGS = (1_000, 100_000, 1_000_000)
QUICK_BACKLOGS = (1_000, 20_000, 100_000)
CARRIED_REQUESTS = 60_000
QUICK_CARRIED_REQUESTS = 10_000
GOAL_MB = 50.0
"""How much more memory a worker may take, at the most, on the deepest backlog than on the shallowest."""
_REFILL_SECONDS = 0.1
_BATCH_MESSAGES = 10_000


def backlog(backlogs: Sequence[int], carried: int, *, quick: bool = False) -> Figures:
    """Peak memory of a worker that carries so many requests on each of these backlogs, the shallowest first."""
    peaks: dict[int, float] = {}
    waiting = 0
    with servers("fake") as settings:
        for depth in backlogs:
            with workers(settings) as worker:
                waiting += asyncio.run(_fill_and_carry(worker, depth - waiting, carried, refill=depth < carried))
                found = worker.answer()
            waiting -= carried
            peaks[depth] = found["peak_mb"]
            print(
                f"backlog of {depth:9,}: {peaks[depth]:.0f} MB, {carried / found['seconds']:,.0f} requests/s",
                flush=True,
            )
    grown = peaks[backlogs[-1]] - peaks[backlogs[0]]
    return Figures(
        scenario="backlog",
        goal=GOAL_MB,
        reached=grown <= GOAL_MB,
        ratio=grown,
        bound=Bound.AT_MOST,
        of="memory",
        measure="MB",
        against=f"a backlog of {backlogs[0]:,}",
        settings={"carried": carried},
        details={"peak_mb": peaks},
        curves=(
            Curve("Peak memory of a worker by its backlog", "requests that wait", "MB", {"worker": [*peaks.items()]}),
        ),
        quick=quick,
    )


async def _fill_and_carry(worker: Child, missing: int, carried: int, *, refill: bool) -> int:
    """Put what is missing onto the queue, and ask the worker; with `refill`, go on. Returns how many were put."""
    settings = Settings.load()
    topic = routing.topic(settings.prefix, "fake", Lane.NORMAL)
    producer = AIOKafkaProducer(**kafka_connection(settings), linger_ms=20, max_batch_size=512 * 1024)
    await producer.start()
    try:
        await _produce(producer, topic, missing)
        worker.send({"count": carried})
        put = missing
        while refill and put < carried:
            await asyncio.sleep(_REFILL_SECONDS)
            await _produce(producer, topic, missing)
            put += missing
    finally:
        await producer.stop()
    return put


async def _produce(producer: AIOKafkaProducer, topic: str, count: int) -> None:
    """Plain OpenAI batch lines, as a producer without an SDK sends them."""
    sent: list[Any] = []
    for line in chat_lines(count):
        sent.append(await producer.send(topic, to_json(line)))
        if len(sent) == _BATCH_MESSAGES:
            await asyncio.gather(*sent)
            sent.clear()
    await asyncio.gather(*sent)
