"""Every call into vLLM, and how its releases differ. Decisions are made in `engine`.

What it takes from vLLM is named in `names`, which is imported inside the functions: importing this module costs
nothing and works without vLLM. The contract tests run all of it, on each release by `make vllm-versions`.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from backburner_schemas.errors import SettingsError
from backburner_schemas.request import Endpoint
from backburner_worker.engine.vllm.load import Meters
from backburner_worker.engine.vllm.release import is_cpu_build

_UTILITY_TIMEOUT_SECONDS = 60.0
"""Seconds for a call to the engine core: one to a dead core never returns."""

_HELP = "`python -m vllm.entrypoints.openai.api_server --help` lists its arguments"

_NO_MEDIA = "no-media-allowed.invalid"
"""vLLM takes an empty list of media domains for all of them; `.invalid` never resolves."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request's failure in OpenAI's form, whether vLLM raised or returned it."""

    status: int
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A vLLM engine with its OpenAI serving objects."""

    engine: Any
    handlers: Mapping[Endpoint, Any]
    models: tuple[str, ...]
    adapters: tuple[str, ...]
    kv_tokens: int
    max_sequences: int
    meters: Meters

    @property
    def errored(self) -> bool:
        """Whether the engine core is gone for good."""
        return bool(self.engine.errored)

    def core_processes(self) -> list[Any]:
        """The engine's child processes, as `multiprocessing` objects."""
        manager = getattr(self.engine.engine_core.resources, "engine_manager", None)
        return list(getattr(manager, "processes", ()))


def import_all() -> ModuleType:
    """Import all that is taken from vLLM. Raises `SettingsError` if the installed release does not have it all."""
    try:
        from backburner_worker.engine.vllm import names
    except Exception as error:
        raise SettingsError(
            f"vLLM cannot be imported: {type(error).__name__}: {error}; reinstall it with all that it needs: "
            "`pip install --force-reinstall 'backburner[worker]'`, or requirements/worker-cpu.lock"
        ) from error
    return names


def check_device() -> None:
    """Raise `SettingsError` if vLLM finds nothing to run on, such as a GPU build without a GPU."""
    if not import_all().current_platform.device_type:
        raise SettingsError(
            "vLLM finds no GPU, and the installed build is not the one for CPUs; see that `nvidia-smi` lists a GPU "
            "here, and let containers have it (`docker run --gpus all`; in Kubernetes, ask for nvidia.com/gpu)"
        )


def assume_device() -> None:
    """Where vLLM finds nothing to run on, have it read arguments as if it had: an image is built without the GPU."""
    platform = import_all().current_platform
    platform.device_type = platform.device_type or "cuda"


def parse_arguments(model: str, engine_args: Sequence[str], served_name: str, media_domains: frozenset[str]) -> Any:
    """Read vLLM's arguments with its own parser. Raises `SettingsError` for those that it does not know."""
    vllm = import_all()
    parser = vllm.make_arg_parser(vllm.FlexibleArgumentParser(exit_on_error=False))
    parser.error = _refuse
    try:
        args = parser.parse_args(["--model", model, "--served-model-name", served_name, *engine_args])
        vllm.validate_parsed_serve_args(args)
    except SystemExit as error:
        # Such as --help, which has been printed.
        raise SettingsError(f"BACKBURNER_ENGINE_ARGS makes vLLM exit; {_HELP}") from error
    except Exception as error:
        raise SettingsError(f"vLLM does not accept BACKBURNER_ENGINE_ARGS: {error}; {_HELP}") from error
    if not args.allowed_media_domains:
        args.allowed_media_domains = sorted(media_domains) or [_NO_MEDIA]
    if args.lora_modules and is_cpu_build():
        _spare_a_slot(args)
    return args


def _refuse(message: str) -> NoReturn:
    # argparse would print all of vLLM's arguments, some hundred lines, and end the process.
    raise ValueError(message)


def _spare_a_slot(args: Any) -> None:
    """Have one slot for adapters more than can ever be used.

    In a batch with adapters, 0.32's CPU kernels apply the last slot's weights to requests to the base model, by the
    index -1; in a slot that was never used these are zeros. Slots are used from the first on.
    """
    args.max_loras = max(args.max_loras or 0, len(args.lora_modules) + 1)
    if args.max_cpu_loras is not None:
        args.max_cpu_loras = max(args.max_cpu_loras, args.max_loras)


async def load(args: Any, default_max_tokens: int) -> Loaded:
    """Build the engine and its serving objects. Blocks the loop while the model loads, 15 s and more."""
    vllm = import_all()
    usage = vllm.UsageContext.OPENAI_API_SERVER
    meters = Meters()
    config = vllm.AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=usage)
    engine = vllm.AsyncLLM.from_vllm_config(
        config,
        usage_context=usage,
        enable_log_requests=args.enable_log_requests,
        disable_log_stats=args.disable_log_stats,
        # Where the operator wants no statistics, none are made for us either.
        stat_loggers=None if args.disable_log_stats else [meters],
    )
    try:
        async with asyncio.timeout(_UTILITY_TIMEOUT_SECONDS):
            tasks = await engine.get_supported_tasks()
        state = vllm.State()
        await vllm.init_app_state(engine, state, args, tasks)
    except BaseException:
        engine.shutdown(timeout=0)
        raise
    handlers = _handlers(state, default_max_tokens)
    serving = state.openai_serving_models
    scheduler = engine.vllm_config.scheduler_config
    # An encoder has no KV cache; what one step takes is the closest that it has to a room for tokens.
    kv_tokens = engine.vllm_config.cache_config.kv_cache_size_tokens or scheduler.max_num_batched_tokens
    return Loaded(
        engine=engine,
        handlers=handlers,
        models=tuple(path.name for path in serving.base_model_paths),
        adapters=tuple(serving.lora_requests),
        kv_tokens=kv_tokens,
        max_sequences=scheduler.max_num_seqs,
        meters=meters,
    )


def _handlers(state: Any, default_max_tokens: int) -> dict[Endpoint, Any]:
    handlers: dict[Endpoint, Any] = {}
    if (chat := getattr(state, "openai_serving_chat", None)) is not None:
        # vLLM cuts its own default to what still fits the context, but refuses a request's number that does not.
        chat.default_sampling_params.setdefault("max_tokens", default_max_tokens)
        handlers[Endpoint.CHAT] = chat.create_chat_completion
    if (completion := getattr(state, "openai_serving_completion", None)) is not None:
        handlers[Endpoint.COMPLETIONS] = completion.create_completion
    if (responses := getattr(state, "openai_serving_responses", None)) is not None:
        responses.default_sampling_params.setdefault("max_tokens", default_max_tokens)
        handlers[Endpoint.RESPONSES] = responses.create_responses
    if (embedding := getattr(state, "serving_embedding", None)) is not None:
        handlers[Endpoint.EMBEDDINGS] = embedding
    if (scores := getattr(state, "serving_scores", None)) is not None:
        handlers[Endpoint.SCORE] = scores
    return handlers


async def call(loaded: Loaded, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any] | Failure:
    """Run one body through the endpoint's serving object: its answer as JSON, or the failure it returned."""
    from backburner_worker.engine.vllm import names

    model = _request_type(endpoint, body)
    if endpoint is Endpoint.RESPONSES:
        # vLLM takes no notice of fields that it does not know, and releases know more and more of them.
        for name in body:
            if name not in model.model_fields:
                return Failure(400, f"{name} is not supported on {endpoint} by this release of vLLM; remove it", name)
    outcome = await loaded.handlers[endpoint](model.model_validate(body), None)
    if isinstance(outcome, names.ErrorResponse):
        return _failure(outcome)
    if isinstance(outcome, BaseModel):
        # Of responses some names are aliases in Python, such as that of a schema.
        return outcome.model_dump(mode="json", by_alias=endpoint is Endpoint.RESPONSES)
    answer: dict[str, Any] = json.loads(outcome.body)
    return answer


def failure_of(error: Exception) -> Failure:
    """What an exception from `call` means for the request, by vLLM's own table."""
    from backburner_worker.engine.vllm import names

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Failure(400, f"{where}: {first['msg']}" if where else first["msg"], where or None)
    return _failure(names.create_error_response(error))


def is_death(error: BaseException) -> bool:
    """Whether the exception means that the engine core is gone."""
    from backburner_worker.engine.vllm import names

    return isinstance(error, names.EngineDeadError)


def _failure(response: Any) -> Failure:
    info = response.error
    return Failure(int(info.code), str(info.message), info.param)


def _request_type(endpoint: Endpoint, body: Mapping[str, Any]) -> type[BaseModel]:
    # By name rather than through vLLM's unions, whose errors name every form that the body is not.
    from backburner_worker.engine.vllm import names

    name = _REQUESTS[endpoint]
    if endpoint is Endpoint.EMBEDDINGS and "input" not in body:
        name = "EmbeddingChatRequest"
    elif endpoint is Endpoint.SCORE:
        name = next((form for key, form in _SCORE_FORMS if key in body), name)
    kind: type[BaseModel] = getattr(names, name)
    return kind


_REQUESTS: dict[Endpoint, str] = {
    Endpoint.CHAT: "ChatCompletionRequest",
    Endpoint.COMPLETIONS: "CompletionRequest",
    Endpoint.EMBEDDINGS: "EmbeddingCompletionRequest",
    Endpoint.SCORE: "ScoreTextRequest",
    Endpoint.RESPONSES: "ResponsesRequest",
}

_SCORE_FORMS = (
    ("documents", "ScoreQueriesDocumentsRequest"),
    ("items", "ScoreQueriesItemsRequest"),
    ("data_1", "ScoreDataRequest"),
    ("text_1", "ScoreTextRequest"),
)
