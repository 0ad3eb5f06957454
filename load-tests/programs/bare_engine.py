"""A child process: vLLM without a queue. Each question `{"first", "count"}` is a batch; the answer is its time.

`serving` is the same engine that a worker holds, so that what differs is the queue alone. It gets all requests at
once, or at most `in_flight` of the question at a time, which is what one tunes by hand.
`passages` is that engine too, with requests that begin alike, and `job` with those of a large job of that kind.
`llm-chat` is vLLM's offline `LLM.chat`, its engine core in this process, as a batch script would use it.
The others answer requests of mixed lengths.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from measuring import passages
from measuring.cpu import cpu_seconds
from measuring.prefix_cache import PrefixCache
from measuring.prompts import mixed_line

Batch = Callable[[int, int, int], Awaitable[int]]
"""Answers so many requests from the first on, at most so many at a time, 0 for all at once; the tokens generated."""
Opened = tuple[Batch, Callable[[], Awaitable[None]]]
"""That, and what closes the engine."""

_SERVED = "bare"


async def serving(model: str, arguments: list[str], asked: Callable[[int, str], dict[str, Any]] = mixed_line) -> Opened:
    """The worker's own engine, and what closes it."""
    from backburner_worker.engine.base import EngineRequest
    from backburner_worker.engine.vllm.engine import VllmEngine

    engine = VllmEngine(model, arguments, _SERVED)
    info = await engine.start()
    [chat] = [endpoint for endpoint in info.endpoints if endpoint.endswith("chat/completions")]

    async def batch(first: int, count: int, in_flight: int) -> int:
        requests = [
            EngineRequest(f"r{number}", chat, asked(number, _SERVED)["body"]) for number in range(first, first + count)
        ]
        free = asyncio.Semaphore(in_flight or count)

        async def answer(request: EngineRequest) -> int:
            async with free:
                return (await engine.run(request)).usage.completion_tokens

        return sum(await asyncio.gather(*map(answer, requests)))

    async def close() -> None:
        await engine.close(drain=0.0)

    return batch, close


async def llm_chat(model: str, arguments: list[str]) -> Opened:
    """The offline interface of vLLM, and what closes it."""
    from backburner_worker.engine.vllm import compat
    from backburner_worker.engine.vllm.environment import prepare_environment

    prepare_environment(model)
    from vllm import LLM, SamplingParams

    parsed = compat.parse_arguments(model, arguments, _SERVED, frozenset())
    llm = LLM(
        model=model,
        max_model_len=parsed.max_model_len,
        max_num_seqs=parsed.max_num_seqs,
        max_num_batched_tokens=parsed.max_num_batched_tokens,
        enforce_eager=parsed.enforce_eager,
        kv_cache_memory_bytes=parsed.kv_cache_memory_bytes,
        dtype=parsed.dtype,
    )

    async def batch(first: int, count: int, in_flight: int) -> int:
        if in_flight:
            raise ValueError("LLM.chat takes all requests at once; omit in_flight")
        bodies = [mixed_line(number, _SERVED)["body"] for number in range(first, first + count)]
        sampling = [
            SamplingParams(max_tokens=body["max_tokens"], temperature=0, ignore_eos=body["ignore_eos"])
            for body in bodies
        ]
        outputs = llm.chat([body["messages"] for body in bodies], sampling, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    async def close() -> None:
        """It ends with the process."""

    return batch, close


BASELINES: dict[str, Callable[[str, list[str]], Awaitable[Opened]]] = {
    "serving": serving,
    "passages": partial(serving, asked=passages.line),
    "job": partial(serving, asked=passages.job_line),
    "llm-chat": llm_chat,
}


async def main(baseline: str, model: str, arguments: list[str]) -> None:
    """Warm the engine up, then answer questions until there are none."""
    batch, close = await BASELINES[baseline](model, arguments)

    async def run(first: int, count: int, in_flight: int = 0) -> dict[str, Any]:
        cache, cpu, started = PrefixCache.now(), cpu_seconds(), time.monotonic()
        tokens = await batch(first, count, in_flight)
        seconds, cpu = time.monotonic() - started, cpu_seconds() - cpu
        return {"seconds": seconds, "cpu_seconds": cpu, "tokens": tokens, "cached": PrefixCache.now().since(cache)}

    await run(1_000_000, 4)
    print(json.dumps({"warm": True}), flush=True)
    loop = asyncio.get_running_loop()
    while question := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await run(**json.loads(question))), flush=True)
    await close()


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
