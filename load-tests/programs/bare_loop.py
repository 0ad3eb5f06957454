"""A child process: the worker's libraries in a bare loop, which answers `{"count"}` when so many records are durable.

It consumes, decodes, encodes, puts and commits, and does nothing else of what a worker does: nothing is checked,
judged, ordered, retried, measured or cancelled, no request has a place in an engine, and one that fails ends the loop.
"""

import asyncio
import json
import sys
import time
from typing import Any

from aiokafka import AIOKafkaConsumer
from pydantic_core import to_json

from backburner.process.memory import freeze_gc
from backburner.publishers.kafka.publisher import kafka_connection
from backburner.storage import Storage
from backburner_schemas import routing
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.settings import WorkerSettings
from measuring.cpu import cpu_seconds
from programs.instant_engine import ANSWER

_SEGMENT_RECORDS = 4096
"""Of one object, as in a worker's segments."""
_MAX_CONCURRENT_PUTS = 4


class BareLoop:
    """Consumes one topic from where it was left."""

    def __init__(self, consumer: AIOKafkaConsumer, storage: Storage) -> None:
        self._consumer = consumer
        self._storage = storage
        self._objects = 0
        self._puts = asyncio.Semaphore(_MAX_CONCURRENT_PUTS)

    async def run(self, count: int) -> dict[str, Any]:
        """Carry so many."""
        cpu, first, done = cpu_seconds(), None, 0
        lines: list[bytes] = []
        async with asyncio.TaskGroup() as tasks:
            while done < count:
                found = await self._consumer.getmany(timeout_ms=50, max_records=500)
                first = first or (time.monotonic() if found else None)
                for records in found.values():
                    lines += [_line(record.value) for record in records]
                    done += len(records)
                if len(lines) >= _SEGMENT_RECORDS or done >= count:
                    tasks.create_task(self._put(b"\n".join([*lines, b""])))
                    lines = []
        ended = time.monotonic()
        await self._consumer.commit()
        assert first is not None
        return {"seconds": ended - first, "cpu_seconds": cpu_seconds() - cpu, "requests": done}

    async def _put(self, data: bytes) -> None:
        async with self._puts:
            self._objects += 1
            await self._storage.put(f"bare/{self._objects:08}.jsonl", data)


def _line(value: bytes) -> bytes:
    envelope = Envelope.model_validate_json(value)
    return to_json(
        {
            "id": f"batch_req_{envelope.index}",
            "custom_id": envelope.custom_id,
            "response": {"status_code": 200, "request_id": f"batch_req_{envelope.index}", "body": ANSWER},
            "error": None,
            "backburner": {"index": envelope.index},
        }
    )


async def main() -> None:
    """Join, then answer questions until there are none."""
    settings = WorkerSettings.load()
    topic = routing.topic(settings.prefix, settings.pool or "", Lane.NORMAL)
    consumer = AIOKafkaConsumer(
        topic,
        **kafka_connection(settings),
        group_id="bare-loop",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )
    await consumer.start()
    try:
        loop = BareLoop(consumer, Storage.open(settings))
        freeze_gc()
        print(json.dumps({"warm": True}), flush=True)
        running = asyncio.get_running_loop()
        while question := await running.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await loop.run(**json.loads(question))), flush=True)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main())
