"""Jobs stored as workers store them, without a worker: with segments of the sizes that workers choose."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.job import JobManifest, Sealed
from backburner_schemas.keys import SegmentName
from backburner_schemas.result import ResultFacts, encode_response, record_id
from backburner_schemas.segment import Line, encode_segment
from backburner_worker.settlement.segments import Buffers, SegmentLimits

TENANT = "default"
_BLOCK_REQUESTS = 64
"""Neighbours that a worker gets together."""
_TEXT = "x" * 600
"""An answer; a record has about a kilobyte."""


async def store_job(storage: Storage, job: str, total: int) -> None:
    """A job with that many requests, all of them sent."""
    now = time.time()
    manifest = JobManifest(id=job, tenant=TENANT, created_at=now, deadline=now + 86_400)
    await storage.put(keys.manifest(TENANT, job), manifest.model_dump_json().encode())
    sealed = Sealed(total=total, sha256="", sealed_at=now, skipped=0)
    await storage.put(keys.sealed(TENANT, job), sealed.model_dump_json().encode())


async def store_results(storage: Storage, job: str, total: int, *, workers: int = 2) -> list[str]:
    """A job whose requests are all answered, in full segments; the keys of these."""
    await store_job(storage, job, total)
    found = []
    for worker in range(workers):
        writer = keys.new_ulid().lower()
        blocks = range(worker * _BLOCK_REQUESTS, total, workers * _BLOCK_REQUESTS)
        indexes = [index for block in blocks for index in range(block, min(block + _BLOCK_REQUESTS, total))]
        limit = SegmentLimits().max_records
        for sequence, start in enumerate(range(0, len(indexes), limit)):
            lines = [_line(job, index) for index in indexes[start : start + limit]]
            name = SegmentName(writer, sequence, len(lines), 0, 10 * len(lines), 32 * len(lines), 1000)
            key = keys.segment(TENANT, job, name)
            await storage.put(key, encode_segment(lines))
            found.append(key)
    return found


def segment_names(total: int, workers: int, seconds: float) -> Iterator[SegmentName]:
    """The names of the segments that so many workers write in that time, by the rule that they follow."""
    each, job = total // workers, (TENANT, "job")
    for _ in range(workers):
        writer = keys.new_ulid().lower()
        buffers = Buffers(SegmentLimits())
        closed = []
        for number in range(each):
            now = seconds * number / each
            closed += buffers.take_due(now)
            buffer = buffers.get(job) or buffers.open(job, now=now, job_age=now)
            if buffers.add(buffer, Line(number, _TEXT.encode())):
                closed.append(buffer)
        for sequence, buffer in enumerate((*closed, *buffers.take_all())):
            yield buffer.name(writer, sequence)


async def store_segments(storage: Storage, job: str, names: Sequence[SegmentName]) -> None:
    """Objects of these names, which nobody reads."""
    for start in range(0, len(names), 32):
        await asyncio.gather(
            *(storage.put(keys.segment(TENANT, job, name), b"{}\n") for name in names[start : start + 32])
        )


def _line(job: str, index: int) -> Line:
    identity = record_id(Address(TENANT, job, index, None))
    body = {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 32, "total_tokens": 42},
    }
    facts = ResultFacts(
        index=index, pool="fake", worker="load", group="load", version="fake", queue_s=1.0, engine_s=1.0
    )
    return Line(index, encode_response(identity, f"r{index}", 200, body, facts.model_dump()), None, 10, 32, 1.0)
