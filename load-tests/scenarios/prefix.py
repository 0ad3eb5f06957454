"""What grouping by prefix gains: the bare engine in file order, against the queue, with room for 5 of 16 passages.

Both sides have vLLM's prefix cache, the same engine arguments and the same requests. vLLM takes requests as they come,
so in file order a passage is forgotten before the next question about it; the queue's worker holds what it has pulled
and brings it into an order that suits the cache. Every round has passages of its own, so that no round helps another.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from backburner import Client
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_schemas.routing import pool_name
from measuring.child import child
from measuring.figures import Check, Figures
from measuring.pairs import Pair, Side, interleaved
from measuring.passages import MAX_TOKENS, PASSAGE_COUNT, QUESTIONS_PER_PASSAGE, ROUND_REQUESTS, Order, line, order_of
from measuring.servers import servers

GOALS = {Order.INTERLEAVED: 4.0, Order.SHUFFLED: 2.5}
KV_PASSAGE_COUNT = 5
"""Passages with a question each for which the KV cache has room."""
_BLOCK_TOKENS = 32
_BLOCKS_PER_PASSAGE_COUNT = 20
_BYTES_PER_TOKEN = 23_040


def engine_args(passages: int) -> str:
    """Arguments of vLLM for a KV cache with room for so many passages."""
    kv_bytes = passages * _BLOCKS_PER_PASSAGE_COUNT * _BLOCK_TOKENS * _BYTES_PER_TOKEN
    return (
        "--max-model-len 1024 --max-num-seqs 16 --max-num-batched-tokens 1024 --enforce-eager --dtype bfloat16 "
        f"--enable-prefix-caching --block-size {_BLOCK_TOKENS} --kv-cache-memory-bytes {kv_bytes}"
    )


ENGINE_ARGS = engine_args(KV_PASSAGE_COUNT)


def prefix(pairs: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run so many pairs of each order. The figure is that of the interleaved file; the shuffled one has a check."""
    model = str(prepare_auto_model(on_progress=print))
    found: dict[Order, Figures] = {}
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        with _sides(model, env) as (bare, queued):
            rounds = range(4 * pairs)
            for order, goal in GOALS.items():
                numbers = [number for number in rounds if order_of(number) is order]
                # Of one pair each, the bare engine goes first in one and the queue in the other.
                numbers = numbers[:pairs] if order is Order.INTERLEAVED else numbers[-pairs:]
                measured = interleaved(numbers, bare, queued, prepare=_fill, check=_same_tokens)
                found[order] = _figures(order, goal, measured, threads=threads, quick=quick)
    return _both(found[Order.INTERLEAVED], found[Order.SHUFFLED])


@contextmanager
def _sides(model: str, env: Mapping[str, str]) -> Iterator[tuple[Side, Side]]:
    worker = {
        **env,
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": ENGINE_ARGS,
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
    }
    with ExitStack() as stack:
        engine = stack.enter_context(child("bare_engine", "passages", model, *ENGINE_ARGS.split(), env=env))
        behind = stack.enter_context(child("queued_worker", env=worker))
        yield (
            Side(
                "AsyncLLM",
                lambda number: engine.measure(ROUND_REQUESTS, first=number * ROUND_REQUESTS, count=ROUND_REQUESTS),
            ),
            Side("queued", lambda _: behind.measure(ROUND_REQUESTS, count=ROUND_REQUESTS)),
        )


def _fill(number: int) -> None:
    async def submit() -> None:
        async with Client() as client:
            await client.submit(
                line(one, AUTO_MODEL_NAME) for one in range(number * ROUND_REQUESTS, (number + 1) * ROUND_REQUESTS)
            )

    asyncio.run(submit())


def _same_tokens(pair: Pair) -> None:
    if pair.baseline.extra["tokens"] != pair.ours.extra["tokens"]:
        raise RuntimeError(f"not the same work: {pair.baseline.extra['tokens']} and {pair.ours.extra['tokens']} tokens")
    shares = (f"{side.extra['cached']:.0%}" for side in (pair.baseline, pair.ours))
    print("prompt tokens found in the prefix cache: " + " against ".join(shares), flush=True)


def _figures(order: Order, goal: float, measured: list[Pair], *, threads: int, quick: bool) -> Figures:
    return Figures.of_pairs(
        "prefix",
        measured,
        (f"AsyncLLM, {order}", f"queued, {order}"),
        goal=goal,
        against=f"AsyncLLM in file order, {order}",
        settings={
            "passages": PASSAGE_COUNT,
            "questions": QUESTIONS_PER_PASSAGE,
            "max_tokens": MAX_TOKENS,
            "threads": threads,
            "engine_args": ENGINE_ARGS,
        },
        details={
            "cached": {
                "baseline": [pair.baseline.extra["cached"] for pair in measured],
                "ours": [pair.ours.extra["cached"] for pair in measured],
            }
        },
        quick=quick,
    )


def _both(worst: Figures, shuffled: Figures) -> Figures:
    assert shuffled.ratio is not None
    return replace(
        worst,
        checks=(Check.of("speed, shuffled", shuffled.ratio, shuffled.goal, against=shuffled.against),),
        rows=worst.rows + shuffled.rows,
        details={
            **worst.details,
            Order.SHUFFLED: {
                "low": shuffled.low,
                "high": shuffled.high,
                "pairs": shuffled.pairs,
                **shuffled.details,
            },
        },
    )
