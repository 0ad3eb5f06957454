"""Where a worker's CPU goes, by layer: samples of its main thread at regular steps of the CPU time that it uses.

A sample belongs to the innermost frame that a layer is known of, so that what a library does counts where it is asked
to. It weighs what its thread has used since the last one; what the process used in other threads is a layer of its
own. The sampler costs about a hundredth of what it measures.
"""

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

SAMPLE_INTERVAL_SECONDS = 0.001
OTHER_THREADS = "threads"
OTHER = "other"
LAYERS = {
    "pull": "records off the wire, kept and handed out",
    "decode": "bytes to envelopes, checked",
    "judge": "what is known of the job; run it or not",
    "feed": "which is next",
    "admit": "a place in the engine",
    "check": "the body's fields, against the whitelist",
    "generate": "from a verdict to an outcome",
    "engine": "the engine that costs nothing",
    "encode": "the record's line",
    "store": "segments and their puts",
    "settle": "marks, ledger",
    "commit": "offsets and marks to the broker",
    "broker i/o": "the client library's connections",
    "telemetry": "metrics",
    "pipeline": "what joins the steps",
    "asyncio": "loop, tasks, wake-ups",
    OTHER_THREADS: "the store's client, most of all",
    OTHER: "what none of these is known of",
}
"""What each layer does, in the order of a request's way."""

PLACES: tuple[tuple[str, str], ...] = (
    ("backburner_schemas/result", "encode"),
    ("backburner_schemas/segment", "store"),
    ("backburner_schemas/indexset", "store"),
    ("backburner_schemas/keys", "store"),
    ("backburner_schemas/prefix", "feed"),
    ("backburner_schemas/", "decode"),
    ("load-tests/programs/instant_engine.py", "engine"),
    ("backburner_worker/engine/fake/", "engine"),
    ("backburner_worker/engine/", "check"),
    ("backburner_worker/requests/", "check"),
    ("backburner_worker/sources/kafka/commits.py", "commit"),
    ("backburner_worker/sources/kafka/marks.py", "commit"),
    ("backburner_worker/sources/kafka/consumer.py:commit", "commit"),
    ("backburner_worker/sources/kafka/source.py:settle", "settle"),
    ("backburner_worker/sources/kafka/source.py:begin", "settle"),
    ("backburner_worker/sources/kafka/assignment.py:settle", "settle"),
    ("backburner_worker/sources/kafka/assignment.py:begin", "settle"),
    ("backburner_worker/sources/kafka/ledger.py:settle", "settle"),
    ("backburner_worker/sources/kafka/ledger.py:begin", "settle"),
    ("backburner_worker/sources/kafka/ledger.py:take_from", "settle"),
    ("backburner_worker/sources/kafka/ledger.py:_sweep", "settle"),
    ("backburner_worker/sources/", "pull"),
    ("aiokafka/record/", "pull"),
    ("aiokafka/consumer/", "pull"),
    ("aiokafka/", "broker i/o"),
    ("backburner_worker/jobs.py", "judge"),
    ("backburner_worker/policy.py", "judge"),
    ("backburner_worker/scheduling/", "feed"),
    ("backburner_worker/admission/", "admit"),
    ("backburner_worker/generation/", "generate"),
    ("backburner_worker/outcome.py", "store"),
    ("backburner_worker/settlement/settler.py", "settle"),
    ("backburner_worker/settlement/suspects.py", "settle"),
    ("backburner_worker/settlement/retries.py", "settle"),
    ("backburner_worker/settlement/", "store"),
    ("backburner/storage/", "store"),
    ("obstore/", "store"),
    ("backburner_worker/telemetry/telemetry.py", "telemetry"),
    ("backburner_worker/telemetry/fast_metrics.py", "telemetry"),
    ("prometheus_client/", "telemetry"),
    ("backburner_worker/", "pipeline"),
    ("asyncio/", "asyncio"),
    ("uvloop/", "asyncio"),
    ("selectors.py", "asyncio"),
)
"""Part of a file's path, with a function's name if only that is meant, and the layer: the first that matches."""


class Sampler:
    """Samples of this process's main thread, weighed by the CPU seconds that they stand for."""

    def __init__(self) -> None:
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._known: dict[CodeType, str | None] = {}
        self._thread = self._process = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample while this is entered. In the main thread, once at a time."""
        before = signal.signal(signal.SIGPROF, self._sample)
        self._thread, self._process = time.thread_time(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_INTERVAL_SECONDS, SAMPLE_INTERVAL_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def layers(self) -> dict[str, float]:
        """CPU seconds of each layer."""
        found: defaultdict[str, float] = defaultdict(float)
        for (layer, _), seconds in self._seconds.items():
            found[layer] += seconds
        return dict(found)

    def places(self) -> list[tuple[str, str, float]]:
        """Layer, innermost function and CPU seconds, the most expensive first."""
        found = sorted(self._seconds.items(), key=lambda item: item[1], reverse=True)
        return [(layer, place, seconds) for (layer, place), seconds in found]

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        thread, process = time.thread_time(), time.process_time()
        mine = thread - self._thread
        self._seconds[OTHER_THREADS, ""] += max(process - self._process - mine, 0.0)
        self._thread, self._process = thread, process
        place = _place(frame) if frame is not None else ""
        self._seconds[self._layer(frame), place] += mine

    def _layer(self, frame: FrameType | None) -> str:
        while frame is not None:
            code = frame.f_code
            if code not in self._known:
                self._known[code] = layer_of(f"{code.co_filename}:{code.co_name}")
            if (layer := self._known[code]) is not None:
                return layer
            frame = frame.f_back
        return OTHER


def layer_of(place: str) -> str | None:
    """The layer of `path/of/file.py:function`; None where none is known."""
    return next((layer for part, layer in PLACES if part in place), None)


def _place(frame: FrameType) -> str:
    path = frame.f_code.co_filename.rsplit("/", 2)
    return f"{'/'.join(path[-2:])}:{frame.f_code.co_name}"
