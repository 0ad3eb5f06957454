"""Creates the engine that the options name, so that the composition root stays short."""

from typing import assert_never

from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import SettingsError
from backburner_worker.engine.adapters import SETTING, check_names
from backburner_worker.engine.base import Engine
from backburner_worker.engine.fake.engine import FAKE_MODEL, FakeEngine
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.engine.options import EngineOptions
from backburner_worker.engine.vllm.engine import VllmEngine


def create_engine(options: EngineOptions) -> Engine:
    """An engine that is not started yet. Imports nothing heavy: vLLM is loaded by `start`.

    Raises `SettingsError` for vLLM without a model, an adapter with the model's name, a fake engine that is to have a
    pace, or to fail, in a process of its own, and servers elsewhere that cannot be called with these settings.
    """
    match options.kind:
        case EngineKind.FAKE:
            return _create_fake(options)
        case EngineKind.VLLM:
            return _create_vllm(options)
        case EngineKind.OPENAI_HTTP:
            return _create_openai_http(options)
        case _:
            assert_never(options.kind)


def _create_fake(options: EngineOptions) -> Engine:
    fake = options.fake
    name = options.served_name or options.model or FAKE_MODEL
    check_names(options.adapters, name)
    adapters = [adapter.name for adapter in options.adapters]
    if not fake.process:
        return FakeEngine(
            name,
            fake.latency_seconds,
            journal=fake.journal,
            pace=fake.pace,
            adapters=adapters,
            failure_ratio=fake.failure_ratio,
            load_seconds=fake.load_seconds,
        )
    if fake.pace is not None or fake.failure_ratio:
        raise SettingsError(
            "BACKBURNER_FAKE_PACE and BACKBURNER_FAKE_FAILURE_RATIO need the fake in the worker's process; unset "
            "BACKBURNER_FAKE_PROCESS"
        )
    return FakeProcessEngine(
        name, fake.latency_seconds, journal=fake.journal, adapters=adapters, load_seconds=fake.load_seconds
    )


def _create_vllm(options: EngineOptions) -> Engine:
    if not options.model:
        raise SettingsError("vLLM needs a model; set BACKBURNER_MODEL to a folder or a name that it can load")
    return VllmEngine(
        options.model,
        options.engine_args,
        options.served_name,
        media_domains=options.media_domains,
        adapters=options.adapters,
        cache_dir=options.cache_dir,
    )


def _create_openai_http(options: EngineOptions) -> Engine:
    try:
        from backburner_worker.engine.openai_http.engine import OpenAiHttpEngine
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed, which the engine openai-http needs; run "
            "`pip install 'backburner[openai-http]'`"
        ) from error
    if options.adapters:
        raise SettingsError(
            f"{SETTING} is for vLLM in the worker; servers elsewhere load adapters themselves; unset it"
        )
    if options.engine_args:
        raise SettingsError("BACKBURNER_ENGINE_ARGS is for vLLM in the worker; give it to the servers, and unset it")
    return OpenAiHttpEngine(options.openai_http, options.model, options.served_name, concurrency=options.concurrency)
