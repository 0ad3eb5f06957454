"""A child process: vLLM without a queue. Each question `{"first", "count"}` is a batch; the answer is its time.

`serving` is the same engine that a worker holds, given all requests at once: what differs is the queue alone.
`llm-chat` is vLLM's offline `LLM.chat`, its engine core in this process, as a batch script would use it.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cpu import cpu_seconds
from prompts import MAX_TOKENS, line, messages

Batch = Callable[[int, int], Awaitable[int]]
"""Answers so many requests from the first on; how many tokens that made."""

_SERVED = "bare"


async def serving(model: str, arguments: list[str]) -> tuple[Batch, Callable[[], Awaitable[None]]]:
    """The worker's own engine, and what closes it."""
    from backburner_worker.engine.base import EngineRequest
    from backburner_worker.engine.vllm import VllmEngine

    engine = VllmEngine(model, arguments, _SERVED)
    info = await engine.start()
    [chat] = [endpoint for endpoint in info.endpoints if endpoint.endswith("chat/completions")]

    async def batch(first: int, count: int) -> int:
        requests = [
            EngineRequest(f"r{number}", chat, line(number, _SERVED)["body"]) for number in range(first, first + count)
        ]
        responses = await asyncio.gather(*map(engine.run, requests))
        return sum(response.usage.completion_tokens for response in responses)

    async def close() -> None:
        await engine.close(drain=0.0)

    return batch, close


async def llm_chat(model: str, arguments: list[str]) -> tuple[Batch, Callable[[], Awaitable[None]]]:
    """The offline interface of vLLM, and what closes it."""
    from backburner_worker.engine import vllm_compat
    from backburner_worker.engine.vllm_environment import prepare_environment

    prepare_environment(model)
    from vllm import LLM, SamplingParams

    parsed = vllm_compat.parse_arguments(model, arguments, _SERVED, frozenset())
    llm = LLM(
        model=model,
        max_model_len=parsed.max_model_len,
        max_num_seqs=parsed.max_num_seqs,
        max_num_batched_tokens=parsed.max_num_batched_tokens,
        enforce_eager=parsed.enforce_eager,
        kv_cache_memory_bytes=parsed.kv_cache_memory_bytes,
        dtype=parsed.dtype,
    )
    sampling = SamplingParams(max_tokens=MAX_TOKENS, temperature=0, ignore_eos=True)

    async def batch(first: int, count: int) -> int:
        outputs = llm.chat([messages(number) for number in range(first, first + count)], sampling, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    async def close() -> None:
        """It ends with the process."""

    return batch, close


BASELINES = {"serving": serving, "llm-chat": llm_chat}


async def main(baseline: str, model: str, arguments: list[str]) -> None:
    """Warm the engine up, then answer questions until there are none."""
    batch, close = await BASELINES[baseline](model, arguments)

    async def run(first: int, count: int) -> dict[str, Any]:
        cpu, started = cpu_seconds(), time.monotonic()
        tokens = await batch(first, count)
        return {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - cpu, "tokens": tokens}

    await run(1_000_000, 4)
    print(json.dumps({"warm": True}), flush=True)
    loop = asyncio.get_running_loop()
    while question := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await run(**json.loads(question))), flush=True)
    await close()


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
