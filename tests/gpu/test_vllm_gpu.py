"""The GPU build of vLLM behind the engine port: runs where there is a GPU and that build, and is skipped elsewhere."""

import asyncio
import importlib.util
from importlib.metadata import PackageNotFoundError, version

import pytest

from backburner.local.model import prepare_auto_model
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.vllm import VllmEngine


def gpu_is_missing() -> bool:
    if importlib.util.find_spec("torch") is None:
        return True
    import torch

    try:
        version("vllm")
    except PackageNotFoundError:
        return True
    return not torch.cuda.is_available()


pytestmark = pytest.mark.skipif(gpu_is_missing(), reason="needs a GPU and the GPU build of vLLM")


def test_many_requests_are_answered_in_one_batch():
    async def answer() -> list[str]:
        engine = VllmEngine(str(prepare_auto_model()), "--max-model-len 1024 --gpu-memory-utilization 0.3", "small")
        info = await engine.start()
        try:
            assert info.kv_tokens > 0
            bodies = [
                {"model": "small", "messages": [{"role": "user", "content": f"Count to {number}."}], "max_tokens": 16}
                for number in range(64)
            ]
            responses = await asyncio.gather(
                *(engine.run(EngineRequest(f"r{number}", Endpoint.CHAT, body)) for number, body in enumerate(bodies))
            )
            return [response.body["choices"][0]["message"]["content"] for response in responses]
        finally:
            await engine.close(drain=5.0)

    assert all(asyncio.run(answer()))
