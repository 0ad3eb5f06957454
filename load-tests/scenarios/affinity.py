"""What prefix affinity gains: two workers, the same requests, partitions chosen by prefix against round robin.

Both workers are warm members of their group, each with half of the partitions and room in its cache for 5 passages of
16. The questions come shuffled, and each round has passages of its own. The clock runs from the first message that is
sent until the last request is settled, which is after its record is durable. Each worker groups what it holds by
prefix, so that what differs is how many passages each of them has to read.
"""

import asyncio
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from backburner import Client
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner.local.programs.ports import PortLeases
from backburner.local.programs.probe import http_status
from backburner.publishers.kafka import publisher
from backburner.publishers.kafka.partitioner import LEEWAY_RATIO, MAX_RUN_REQUESTS, Partitioner
from backburner_schemas.routing import pool_name
from chaos.workers import WorkerPlace
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.passages import MAX_TOKENS, PASSAGE_COUNT, QUESTIONS_PER_PASSAGE, ROUND_REQUESTS, Order, line, order_of
from measuring.prefix_cache import PrefixCache
from measuring.prompts import line as short_line
from measuring.servers import servers
from scenarios.prefix import ENGINE_ARGS

GOAL_RATIO = 1.2
"""A worker that has half of the passages reads some 7,000 tokens a round, one that is asked about all of them 11,500.
What else a request costs is the same, and so few requests are never shared out quite evenly."""
WORKER_COUNT = 2
_LOAD_SECONDS = 240.0
_POLL_SECONDS = 0.05
_SETTLED = "backburner_deliveries_settled_total"
_ANSWERED = 'outcome="response"'
_WARM_UP_REQUESTS = 16
_MAX_WARM_UPS = 20


def affinity(pairs: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run the pairs. The ratio is throughput with affinity over that with round robin."""
    model = str(prepare_auto_model(on_progress=print))
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, **_worker(model, threads)}
        with _workers(env) as places:
            _warm_up(places)
            shuffled = [number for number in range(8 * pairs) if order_of(number) is Order.SHUFFLED]
            sides = [
                Side("round robin", lambda pair: _round(places, RoundRobin, shuffled[2 * pair])),
                Side("affinity", lambda pair: _round(places, Partitioner, shuffled[2 * pair + 1])),
            ]
            found = interleaved(pairs, *sides, check=_report)
    partitions = int(settings["BACKBURNER_TOPIC_PARTITIONS"])
    most = round((1 + LEEWAY_RATIO) / partitions + MAX_RUN_REQUESTS / ROUND_REQUESTS, 3)
    hottest = max(pair.ours.extra["hottest"] for pair in found)
    return Figures.of_pairs(
        "affinity",
        found,
        ("round robin", "affinity"),
        goal=GOAL_RATIO,
        settings={
            "workers": WORKER_COUNT,
            "partitions": partitions,
            "passages": PASSAGE_COUNT,
            "questions": QUESTIONS_PER_PASSAGE,
            "max_tokens": MAX_TOKENS,
            "threads": threads,
            "engine_args": ENGINE_ARGS,
        },
        details={
            name: {key: [measured.extra[key] for measured in rounds] for key in ("cached", "hottest", "shares")}
            for name, rounds in (
                ("round robin", [pair.baseline for pair in found]),
                ("affinity", [pair.ours for pair in found]),
            )
        },
        checks=[Check.of("share of the hottest partition", hottest, most, bound=Bound.AT_MOST)],
        quick=quick,
    )


class RoundRobin(Partitioner):
    """Chooses one partition after the other."""

    _sent = -1

    def choose(self, key: bytes, value: bytes) -> int:
        """The next one."""
        del key, value
        self._sent += 1
        return self._sent % self.count

    def choose_together(self, key: bytes, values: Sequence[bytes]) -> int | None:
        """None: each by itself."""
        del key, values
        return None


def _worker(model: str, threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": ENGINE_ARGS,
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
    }


@contextmanager
def _workers(env: Mapping[str, str]) -> Iterator[list[WorkerPlace]]:
    """Warm workers, one loaded after the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backburner-workers-")))
        ports = stack.enter_context(PortLeases())
        places = []
        for number in range(WORKER_COUNT):
            port = ports.take()
            name = f"worker {number}"
            place = WorkerPlace(name, {**env, "BACKBURNER_HTTP_PORT": str(port)}, port, folder / f"{name}.log")
            stack.callback(place.child.stop, grace=30.0)
            place.start()
            place.child.wait_until(partial(_ready, place), seconds=_LOAD_SECONDS)
            places.append(place)
        yield places


def _ready(place: WorkerPlace) -> bool:
    return http_status(place.port, "/readyz") == HTTPStatus.OK


def _warm_up(places: list[WorkerPlace]) -> None:
    """Submit small jobs until each worker has had a part of one: then all have their partitions."""
    for turn in range(_MAX_WARM_UPS):
        lines = [
            short_line(number, AUTO_MODEL_NAME)
            for number in range(turn * _WARM_UP_REQUESTS, (turn + 1) * _WARM_UP_REQUESTS)
        ]
        for one in lines:
            one["body"]["max_tokens"] = 1
        if all(_carry(places, RoundRobin, lines, _WARM_UP_REQUESTS).extra["shares"]):
            return
    raise RuntimeError(f"one of {len(places)} workers had no part in {_MAX_WARM_UPS} small jobs")


def _round(places: list[WorkerPlace], chooser: type[Partitioner], number: int) -> Measured:
    lines = (line(one, AUTO_MODEL_NAME) for one in range(number * ROUND_REQUESTS, (number + 1) * ROUND_REQUESTS))
    return _carry(places, chooser, lines, ROUND_REQUESTS)


def _carry(
    places: list[WorkerPlace], chooser: type[Partitioner], lines: Iterable[Mapping[str, Any]], count: int
) -> Measured:
    """Send the requests, with their partitions chosen that way, and wait until all are settled.

    Raises `RuntimeError` where one was not answered.
    """
    sent: Counter[int] = Counter()

    class Counted(chooser):  # type: ignore[misc, valid-type]
        def choose(self, key: bytes, value: bytes) -> int:
            chosen: int = super().choose(key, value)
            sent[chosen] += len(value)
            return chosen

    before = [place.metrics() for place in places]
    cpu, started = _cpu_seconds(places), time.monotonic()
    with patch.object(publisher, "Partitioner", Counted):
        asyncio.run(_submit(lines))
    while sum(shares := _settled(places, before)) < count:
        time.sleep(_POLL_SECONDS)
    seconds = time.monotonic() - started
    if (answered := sum(_settled(places, before, _ANSWERED))) != count:
        raise RuntimeError(f"of {count:,} requests {answered:,} were answered")
    old, new = (
        PrefixCache(*(sum(_total(found, name) for found in all_found) for name in PrefixCache.NAMES))
        for all_found in (before, [place.metrics() for place in places])
    )
    return Measured(
        seconds,
        _cpu_seconds(places) - cpu,
        count,
        {"cached": new.since(old), "hottest": max(sent.values()) / sent.total(), "shares": shares},
    )


async def _submit(lines: Iterable[Mapping[str, Any]]) -> None:
    async with Client() as client:
        await client.submit(lines)


def _settled(places: list[WorkerPlace], before: list[dict[str, float]], outcome: str = "") -> list[int]:
    """How many requests each worker has settled since, with that outcome if one is named."""
    return [
        round(_total(place.metrics(), _SETTLED, outcome) - _total(old, _SETTLED, outcome))
        for place, old in zip(places, before, strict=True)
    ]


def _total(metrics: Mapping[str, float], name: str, label: str = "") -> float:
    """Over all labels, or all that have this one."""
    return math.fsum(found for key, found in metrics.items() if key.partition("{")[0] == name and label in key)


def _cpu_seconds(places: list[WorkerPlace]) -> float:
    total = 0.0
    for place in places:
        worker = psutil.Process(place.child.pid)
        for process in (worker, *worker.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _report(pair: Pair) -> None:
    for name, side in (("round robin", pair.baseline), ("affinity", pair.ours)):
        extra = side.extra
        print(
            f"{name}: {extra['cached']:.0%} of the prompt tokens were in a cache; "
            f"the hottest partition had {extra['hottest']:.0%}; the workers had {extra['shares']}",
            flush=True,
        )
