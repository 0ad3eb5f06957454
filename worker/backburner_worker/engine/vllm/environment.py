"""What vLLM and the libraries below it read from the environment when they are first imported. Imports none of them."""

import os
import tempfile
from pathlib import Path

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.vllm.release import is_cpu_build

_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    # A forked child would inherit the worker's threads and sockets.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # A redirect would bypass the list of allowed media domains.
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    # The worker's own log is on stdout.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}

_CPU_ENVIRONMENT = {
    # One child process instead of two: a load of 15 s instead of 23, and 0.5 GB less.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # The first request with logprobs would otherwise wait 12 to 16 s for a compiler.
    "TORCHDYNAMO_DISABLE": "1",
    # Two threads a machine with two busy cores collapse to a tenth of the throughput.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}

_CACHES = {
    # Compiled graphs, kernels' tunings, what is known of model classes: all that vLLM itself keeps.
    "VLLM_CACHE_ROOT": "vllm",
    # What is compiled outside of its graphs: samplers, and Triton kernels that are compiled when first called.
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    # What FlashInfer builds, and the driver for a GPU that a library knows nothing of.
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
}
"""Where each library keeps what it compiled: its variable, and the part of the cache's folder."""


def environment(model: str, cache_dir: str = "") -> dict[str, str]:
    """The variables that vLLM is to find in the environment when it is first imported.

    Below `cache_dir` it stores what it compiles and measures at a start, for the next one; in its own folders if empty.
    """
    settings = dict(_ENVIRONMENT)
    if is_cpu_build():
        settings |= _CPU_ENVIRONMENT
    if Path(model).is_dir():
        settings["HF_HUB_OFFLINE"] = "1"
    if cache_dir:
        folder = Path(cache_dir).expanduser().absolute()
        settings |= {name: str(folder / part) for name, part in _CACHES.items()}
    return settings


def prepare_environment(model: str, cache_dir: str = "") -> None:
    """Set what vLLM reads when it is first imported; what the operator has set stays.

    Raises `SettingsError` if the cache's folder cannot be made or written to.
    """
    if cache_dir:
        folder = Path(cache_dir).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingsError(
                f"BACKBURNER_COMPILE_CACHE_DIR: {folder} cannot be written to ({error.strerror}); name another folder"
            ) from error
    for name, value in environment(model, cache_dir).items():
        os.environ.setdefault(name, value)
