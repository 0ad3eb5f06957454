"""A child process: an aiokafka producer that sends the lines of a file as they are, and nothing else.

Each question `{"path", "topic", "how"}` sends the whole file. `how` is `send`, one call a line, as its documentation
shows, or `batch`, whole batches built by hand for each partition. The clock stops when the broker has every line.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from measuring.cpu import cpu_seconds, peak_mib, reset_peak

_BATCH_LINES = 2048
_LINES_PER_KEY = 64
"""Lines, next to each other, with one key."""
_MAX_BATCHES_IN_FLIGHT = 4


async def send_singly(producer: AIOKafkaProducer, topic: str, path: Path) -> int:
    """One `send` for each line, with a bounded number under way; how many there were."""
    under_way: deque[asyncio.Future[Any]] = deque()
    sent = 0
    with path.open("rb") as file:
        for line in file:
            key = b"bare/%d" % (sent // _LINES_PER_KEY)
            under_way.append(await producer.send(topic, line[:-1], key))
            sent += 1
            if len(under_way) >= _MAX_BATCHES_IN_FLIGHT * _BATCH_LINES:
                for _ in range(_BATCH_LINES):
                    await under_way.popleft()
    await asyncio.gather(*under_way)
    return sent


async def send_batches(producer: AIOKafkaProducer, topic: str, path: Path) -> int:
    """Batches by hand, the partitions in turn; how many lines there were."""
    partitions = sorted(await producer.partitions_for(topic))
    under_way: deque[asyncio.Future[Any]] = deque()
    sent = 0
    batches = [producer.create_batch() for _ in partitions]

    async def dispatch(partition: int) -> None:
        batches[partition].close()
        under_way.append(await producer.send_batch(batches[partition], topic, partition=partitions[partition]))
        batches[partition] = producer.create_batch()
        if len(under_way) >= _MAX_BATCHES_IN_FLIGHT * len(partitions):
            await under_way.popleft()

    with path.open("rb") as file:
        while lines := list(islice(file, _LINES_PER_KEY)):
            key, partition = b"bare/%d" % (sent // _LINES_PER_KEY), sent // _LINES_PER_KEY % len(partitions)
            now = int(time.time() * 1000)
            for line in lines:
                while batches[partition].append(timestamp=now, key=key, value=line[:-1]) is None:
                    await dispatch(partition)
            sent += len(lines)
    for partition, batch in enumerate(batches):
        if batch.record_count():
            await dispatch(partition)
    await asyncio.gather(*under_way)
    return sent


async def main() -> None:
    """Connect, then answer questions until there are none."""
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["BACKBURNER_QUEUE_URL"].removeprefix("kafka://"),
        acks="all",
        # As the client has it there.
        enable_idempotence=os.environ["BACKBURNER_KAFKA_IDEMPOTENCE"] == "true",
        linger_ms=5,
        max_batch_size=256 * 1024,
        request_timeout_ms=60_000,
    )
    await producer.start()
    try:
        print(json.dumps({"warm": True}), flush=True)
        loop = asyncio.get_running_loop()
        while question := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(question)
            send = {"send": send_singly, "batch": send_batches}[asked["how"]]
            reset_peak()
            cpu, started = cpu_seconds(), time.monotonic()
            sent = await send(producer, asked["topic"], Path(asked["path"]))
            found = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - cpu}
            print(json.dumps({**found, "peak_mib": peak_mib(), "sent": sent}), flush=True)
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
