"""`backburner-worker --check`: whether a worker could start from what is installed and set here.

It loads no model, connects to nothing and needs no GPU, so that the build of an image can end with it. It runs the same
code as a start does, in the order in which a failure shows soonest.
"""

import asyncio
import importlib
import logging
import platform
import sys
import warnings
from dataclasses import replace
from importlib.metadata import version
from types import ModuleType

from backburner.publishers import check_queue
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import BackburnerError, SettingsError
from backburner_worker.engine.vllm.release import Release, supported_release
from backburner_worker.requests.parameters import check_allowed_extra
from backburner_worker.settings import WorkerSettings

_ENGINES = {EngineKind.FAKE: "fake", EngineKind.OPENAI_HTTP: "openai-http"}
"""Those beside vLLM, of which more is told."""
_ANSWER_SECONDS = 10.0
"""How long a server elsewhere is waited for."""


def run_check(*, connect: bool = False) -> int:
    """Check, and print in one line what was found, or what is wrong. Returns the exit status, 0 or 1.

    `connect`: where the engine is servers elsewhere, these have to answer as well.
    """
    # Libraries warn about what is usual where an image is built, such as the lack of a GPU.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        settings = WorkerSettings.load()
        found = _check(settings)
        if connect and settings.engine is EngineKind.OPENAI_HTTP:
            found += f", {asyncio.run(_ask(settings))}"
    except BackburnerError as error:
        sys.stderr.write(f"backburner-worker --check: {error.message}\n")
        return 1
    sys.stdout.write(f"backburner-worker --check: {found}\n")
    return 0


def _check(settings: WorkerSettings) -> str:
    # What costs nothing comes first: an image with another vLLM is refused before two gigabytes are imported.
    release = supported_release() if settings.engine is EngineKind.VLLM else None
    _check_parts(settings)
    engine = f"{_ENGINES[settings.engine]} engine" if release is None else _check_vllm(settings, release)
    return f"backburner {version('backburner')}, {engine}, Python {platform.python_version()}"


async def _ask(settings: WorkerSettings) -> str:
    """What servers elsewhere offer. Raises what the engine's start raises."""
    from backburner_worker.engine.factory import create_engine

    options = settings.engine_options
    soon = replace(options.openai_http, start_seconds=_ANSWER_SECONDS)
    engine = create_engine(replace(options, openai_http=soon))
    try:
        return f"its servers serve {', '.join((await engine.start()).models)}"
    finally:
        await engine.close(drain=0.0)


def import_app() -> ModuleType:
    """The composition root, `app`. Raises `SettingsError` if something that it imports is not installed."""
    try:
        return importlib.import_module("backburner_worker.app")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed; run `pip install 'backburner[worker]'` on a GPU machine, or `make setup`"
        ) from error


def _check_parts(settings: WorkerSettings) -> None:
    """Import what a worker is made of, and judge what its start judges before the model loads."""
    import_app()
    from backburner_worker.engine.factory import create_engine

    if settings.queue_url:
        check_queue(settings)
    check_allowed_extra(settings.extra_parameters)
    if settings.engine is not EngineKind.VLLM:
        create_engine(settings.engine_options)


def _check_vllm(settings: WorkerSettings, release: Release) -> str:
    from backburner_worker.engine.factory import create_engine
    from backburner_worker.engine.vllm import compat
    from backburner_worker.engine.vllm.engine import VllmEngine
    from backburner_worker.engine.vllm.environment import prepare_environment
    from backburner_worker.engine.vllm.extension import load_kernels

    prepare_environment(settings.model)
    kernels = load_kernels(without_driver=not release.cpu)
    compat.import_all()
    compat.assume_device()
    read = ""
    if settings.model:
        engine = create_engine(settings.engine_options)
        assert isinstance(engine, VllmEngine)
        engine.arguments()
        read = ", BACKBURNER_ENGINE_ARGS understood"
    return f"vLLM {release.version} ({_build(release)}; {kernels}){read}"


def _build(release: Release) -> str:
    import torch

    kind = "CPU" if release.cpu else f"CUDA {torch.version.cuda}" if torch.version.cuda else "GPU"
    return f"{kind} build, torch {torch.__version__}"
