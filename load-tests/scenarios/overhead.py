"""What the queue costs: the same chat requests through the engine alone, and through broker → worker → store.

Both sides keep one process warm with the same engine arguments and threads, and answer the same requests of mixed
lengths. Rounds are interleaved, and who goes first changes from pair to pair, because the machine's speed drifts. The
process that was started second was seen to be a few percent faster for as long as it lived, so for the second half of
the pairs both are started anew, in the other order.

The bare side runs at its best hand setting: before the pairs, off the record, it is tried with all requests at once
and with one and a half and two times as many in flight as it runs at a time. Each trial has prompts of its own, so that
none finds them in the prefix cache, and who goes first changes here too.
"""

import itertools
import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from measuring.child import Child, child
from measuring.engines import Build, arguments, build, max_sequences
from measuring.figures import Figures
from measuring.pairs import Pair, Side, interleaved
from measuring.prompts import CYCLE_REQUESTS
from measuring.resident import fill, resident_worker, same_tokens
from measuring.servers import servers

GOAL_RATIO = 0.98
_SERVING = "serving"
_GPU_REQUESTS = 1024
_RUNS_PER_SETTING = 2
_FIRST_TRIAL_INDEX = 1_000_000


def overhead(pairs: int, requests: int, *, threads: int = 1, baseline: str = _SERVING, quick: bool = False) -> Figures:
    """Run the pairs. The ratio is queued throughput over bare throughput, so 0.98 means that the queue costs 2 %."""
    requests = requests or (_GPU_REQUESTS if build() is Build.GPU else CYCLE_REQUESTS)
    model = str(prepare_auto_model(on_progress=print))
    found: list[Pair] = []
    tried: dict[int, float] = {}
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        for bare_starts, numbers in ((True, range(pairs // 2)), (False, range(pairs // 2, pairs))):
            if numbers:
                with _sides(baseline, model, env, bare_starts=bare_starts) as (bare, worker):
                    if not tried and baseline == _SERVING and not quick:
                        tried = _try(bare, requests)
                    in_flight = max(tried, key=tried.__getitem__, default=0)
                    found += interleaved(
                        numbers,
                        _bare_side(baseline, bare, requests, in_flight),
                        _queued_side(worker, requests),
                        prepare=lambda number: fill(number * requests, requests),
                        check=same_tokens,
                    )
    halves = [found[: pairs // 2], found[pairs // 2 :]]
    return Figures.of_pairs(
        "overhead",
        found,
        (baseline, "queued"),
        goal=GOAL_RATIO,
        against="bare AsyncLLM at its best hand setting" if baseline == _SERVING else "vLLM's LLM.chat",
        settings={
            "requests": requests,
            "threads": threads,
            "baseline": baseline,
            "engine_args": arguments(),
            "bare_in_flight": in_flight or "all at once",
        },
        details={
            "median_of_each_half": [statistics.median(pair.speed for pair in half) for half in halves if half],
            "tokens_of_a_round": found[0].ours.extra["tokens"],
            "bare_requests_per_s_by_in_flight": {str(count or "all"): rate for count, rate in tried.items()},
        },
        quick=quick,
    )


@contextmanager
def _sides(baseline: str, model: str, env: Mapping[str, str], *, bare_starts: bool) -> Iterator[tuple[Child, Child]]:
    """The bare engine and the worker in processes of their own, warm, started one after the other."""
    with ExitStack() as stack:
        started = {}
        for name in ("bare", "queued") if bare_starts else ("queued", "bare"):
            started[name] = stack.enter_context(
                child("bare_engine", baseline, model, *arguments().split(), env=env)
                if name == "bare"
                else resident_worker(model, env)
            )
        yield started["bare"], started["queued"]


def _bare_side(name: str, bare: Child, requests: int, in_flight: int) -> Side:
    return Side(
        name,
        lambda number: bare.measure(requests, first=number * requests, count=requests, in_flight=in_flight),
    )


def _queued_side(worker: Child, requests: int) -> Side:
    return Side("queued", lambda _: worker.measure(requests, count=requests))


def _try(bare: Child, requests: int) -> dict[int, float]:
    """Requests a second of the bare engine by how many are in flight, 0 for all."""
    at_once = max_sequences(arguments())
    settings = [0, *(count for count in (at_once * 3 // 2, at_once * 2) if count < requests)]
    rates: dict[int, list[float]] = {count: [] for count in settings}
    trials = itertools.count(_FIRST_TRIAL_INDEX)
    for number in range(_RUNS_PER_SETTING):
        for count in settings if number % 2 == 0 else settings[::-1]:
            side = _bare_side("", bare, requests, count)
            rates[count].append(side.run(next(trials)).rate)
    best = {count: max(found) for count, found in rates.items()}
    for count, rate in best.items():
        print(f"bare with {count or 'all'} in flight: {rate:.2f} requests/s", flush=True)
    return best
