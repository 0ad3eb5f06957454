"""The GPU build of vLLM behind the engine port: runs where there is a GPU and that build, and is skipped elsewhere.

With BACKBURNER_TEST_GPU_ON_CPU set the same runs on the CPU build (`make gpu-check CPU=1`).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from backburner.local.model import prepare_auto_model
from backburner_schemas.errors import RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import Engine, EngineInfo, EngineRequest
from backburner_worker.engine.vllm.engine import VllmEngine
from measuring.engines import Build, arguments, build

WANTED = Build.CPU if os.environ.get("BACKBURNER_TEST_GPU_ON_CPU") else Build.GPU

pytestmark = [
    pytest.mark.skipif(build() is not WANTED, reason=f"needs the {WANTED} build of vLLM, and what it runs on"),
    pytest.mark.timeout(600),
]


def request(number: int, content: str, **options) -> EngineRequest:
    body = {"model": "small", "messages": [{"role": "user", "content": content}], "temperature": 0, **options}
    return EngineRequest(f"r{number}", Endpoint.CHAT, body)


def with_engine(use: Callable[[Engine, EngineInfo], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = VllmEngine(str(prepare_auto_model()), arguments(), "small")
        info = await engine.start()
        try:
            await use(engine, info)
        finally:
            await engine.close(drain=5.0)

    asyncio.run(run())


def test_an_engine_answers_many_at_once_and_outlives_what_is_refused_and_cancelled():
    async def use(engine: Engine, info: EngineInfo) -> None:
        assert info.kv_tokens > 0
        assert info.max_sequences > 1
        many = [request(number, f"Count to {number}.", max_tokens=16) for number in range(64)]
        responses = await asyncio.gather(*map(engine.run, many))
        assert all(response.body["choices"][0]["message"]["content"] for response in responses)
        assert all(0 < response.usage.completion_tokens <= 16 for response in responses)

        with pytest.raises(RequestRefused):
            await engine.run(request(100, "Hello.", max_tokens=1_000_000))

        long = asyncio.create_task(engine.run(request(101, "Count.", max_tokens=900, ignore_eos=True)))
        await asyncio.sleep(0)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        assert not engine.lost
        again = await engine.run(request(102, "What is the capital of France?", max_tokens=16))
        assert "Paris" in again.body["choices"][0]["message"]["content"]

    with_engine(use)
