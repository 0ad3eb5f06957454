"""The vLLM engine, in the worker's own process, behind the engine port.

vLLM's OpenAI serving objects answer, so that requests and responses have the forms of its own server without a
second hop. What is called in vLLM, and how, is in `compat`.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from backburner_schemas.errors import (
    BackburnerError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
    SettingsError,
)
from backburner_schemas.request import Endpoint
from backburner_worker.engine.adapters import Adapter, check_names, vllm_arguments
from backburner_worker.engine.base import EngineInfo, EngineLoad, EngineRequest, EngineResponse
from backburner_worker.engine.openai_answer import response_of
from backburner_worker.engine.served import arguments_of, name_of
from backburner_worker.engine.vllm import compat
from backburner_worker.engine.vllm.compat import Failure, Loaded
from backburner_worker.engine.vllm.environment import prepare_environment
from backburner_worker.engine.vllm.extension import load_kernels
from backburner_worker.engine.vllm.parent_death import tie_children
from backburner_worker.engine.vllm.release import supported_release
from backburner_worker.engine.warm_up import warm_ups
from backburner_worker.requests.limits import DATA_URLS

DEFAULT_MAX_TOKENS = 1024
"""Tokens at most in a chat answer whose request names no limit, as far as the context has room for them.

Without it one request that rambles holds its place until the context is full, 128 k tokens on today's models.
"""

_WARM_UP_SECONDS = 300.0
"""Bounds the first generation, which compiles kernels on some machines."""

_SHUTDOWN_SECONDS = 10.0
"""How long the engine core may take to end after the drain before it is killed; 2.5 s on an idle machine."""

_KILL_SECONDS = 5.0

_CONTEXT_PARAMS = frozenset({"input_tokens", "input_text"})
_CONTEXT_PHRASES = ("maximum context length", "maximum model length", "cannot be greater than max_model_len")
_RETRIED = frozenset({408, 429})
_NOT_IMPLEMENTED_STATUS = 501
_SERVER_ERROR_STATUS = 500


class VllmEngine:
    """An `Engine` on vLLM. One a process; `start` must be awaited on the main thread.

    Args:
        model: A folder or a name that vLLM can load.
        engine_args: vLLM's own arguments, as one line for a shell or as a list.
        served_name: The name that requests use; a folder's own name if none is given.
        default_max_tokens: Tokens at most in a chat answer whose request names no limit.
        media_domains: Where media may be fetched from, as in `BodyLimits`.
        adapters: LoRA adapters to load with the model, each of which has to be in its folder.
        cache_dir: Where compiled code is kept from start to start; vLLM's own places if empty.
    """

    def __init__(
        self,
        model: str,
        engine_args: str | Sequence[str] = (),
        served_name: str | None = None,
        *,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        media_domains: frozenset[str] = frozenset(),
        adapters: Sequence[Adapter] = (),
        cache_dir: str = "",
    ) -> None:
        self._model = model
        self._engine_args = arguments_of(engine_args)
        self._served_name = name_of(model, served_name)
        self._default_max_tokens = default_max_tokens
        self._media_domains = media_domains - {DATA_URLS}
        self._adapters = tuple(adapters)
        self._cache_dir = cache_dir
        self._loaded: Loaded | None = None
        self._running: set[asyncio.Task[dict[str, Any] | Failure]] = set()
        self._names: frozenset[str] = frozenset()
        self._lost = False
        self._closed = False

    @property
    def lost(self) -> bool:
        """Whether the engine core has died, also while nothing runs."""
        if not self._lost and not self._closed and self._loaded is not None and self._loaded.errored:
            self._lost = True
        return self._lost

    async def start(self) -> EngineInfo:
        """Load the model and run one real request through it. The event loop stands still while it loads.

        Raises `SettingsError` for what no other start can fix: a release of vLLM that this worker was not made for, a
        library or a GPU that is missing, arguments that vLLM does not accept.
        """
        release = supported_release()
        if threading.current_thread() is not threading.main_thread():
            # The core's tie to its parent ends it when the thread that made it ends.
            raise SettingsError("vLLM must be started on the main thread")
        prepare_environment(self._model, self._cache_dir)
        tie_children()
        load_kernels()
        compat.check_device()
        return await self._load(self.arguments(), release.version)

    def arguments(self) -> Any:
        """The arguments as vLLM's own parser reads them. Loads no model. Raises `SettingsError`."""
        engine_args = [*vllm_arguments(self._adapters, self._engine_args), *self._engine_args]
        args = compat.parse_arguments(self._model, engine_args, self._served_name, self._media_domains)
        for name in args.served_model_name:
            check_names(self._adapters, name)
        return args

    async def run(self, request: EngineRequest) -> EngineResponse:
        """Answer one request. See the port for errors and cancellation."""
        if self.lost:
            raise EngineLost
        loaded = self._loaded
        if loaded is None or self._closed:
            raise EngineError("the engine is closed")
        model = request.body.get("model")
        # vLLM's pooling endpoints answer for any model's name.
        if model not in self._names:
            served = ", ".join(sorted(self._names))
            raise ModelNotFound(f"the model {model!r} is not served here; use {served}", param="model")
        if request.endpoint not in loaded.handlers:
            raise RequestRefused(f"the model {model!r} does not answer {request.endpoint}", param="url")
        body = {**request.body, "request_id": request.id}
        if request.endpoint is Endpoint.RESPONSES:
            # It becomes the response's own id, as it is; and none is kept in memory, whatever vLLM's environment says.
            body |= {"request_id": f"resp_{request.id}", "store": False}
        if request.cache_salt:
            body["cache_salt"] = request.cache_salt
        return response_of(request.endpoint, await self._call(loaded, request.endpoint, body))

    def load(self) -> EngineLoad | None:
        """How full it is; None before its first step, and where BACKBURNER_ENGINE_ARGS turns its statistics off."""
        return self._loaded.meters.load() if self._loaded is not None else None

    def progress(self) -> int | None:
        """Its schedulers' steps so far; None where BACKBURNER_ENGINE_ARGS turns its statistics off."""
        return self._loaded.meters.steps() if self._loaded is not None else None

    async def close(self, drain: float) -> None:
        """Wait for what runs, abort the rest, end the engine core, at the latest by force."""
        # Read once more while it still means something: a closed core looks like a dead one.
        self._lost = self.lost
        self._closed = True
        if self._running and drain > 0:
            await asyncio.wait(self._running, timeout=drain)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_KILL_SECONDS)
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        processes = loaded.core_processes()
        # Not in a thread: it ends tasks and sockets of this loop.
        loaded.engine.shutdown(timeout=_SHUTDOWN_SECONDS)
        deadline = time.monotonic() + _KILL_SECONDS
        for process in processes:
            if process.is_alive():
                process.kill()
            await asyncio.to_thread(process.join, max(0.0, deadline - time.monotonic()))
        # Serving objects and engine hold each other: collected at the interpreter's exit, vLLM's `__del__` fails.
        del loaded
        gc.collect()

    def core_pids(self) -> list[int]:
        """Process ids of the engine's children, for health checks and fault tests."""
        return [process.pid for process in self._loaded.core_processes()] if self._loaded else []

    async def _load(self, args: Any, installed: str) -> EngineInfo:
        # Not a part of `start`: failed imports that libraries keep would hold its frame, and with it the engine.
        try:
            loaded = await compat.load(args, self._default_max_tokens)
        except Exception as error:
            raise EngineError(f"vLLM did not start: {error}; the cause is the first ERROR in its log above") from error
        self._loaded = loaded
        self._names = frozenset((*loaded.models, *loaded.adapters))
        if not loaded.handlers:
            raise EngineError(f"the model {self._model} answers none of {', '.join(Endpoint)}")
        await self._warm_up(loaded)
        return EngineInfo(
            models=loaded.models,
            endpoints=frozenset(loaded.handlers),
            version=f"vllm-{installed}",
            kv_tokens=loaded.kv_tokens,
            max_sequences=loaded.max_sequences,
            adapters=loaded.adapters,
        )

    async def _warm_up(self, loaded: Loaded) -> None:
        """Run one batch of all kinds of requests. The first one has to be answered, the others may be refused."""
        first, *others = warm_ups(loaded.handlers, loaded.models[0], loaded.adapters)
        try:
            async with asyncio.timeout(_WARM_UP_SECONDS):
                await asyncio.gather(self.run(first), *map(self._try, others))
        except TimeoutError as error:
            raise EngineError(f"the first request was not answered within {_WARM_UP_SECONDS:.0f} s") from error
        except RequestRefused as error:
            raise EngineError(f"the first request was refused: {error.message}") from error

    async def _try(self, request: EngineRequest) -> None:
        with suppress(RequestRefused):
            await self.run(request)

    async def _call(self, loaded: Loaded, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
        """Run the body in a task of its own, which `close` can abort, and distinguish how it ends.

        vLLM turns a cancelled call into an ordinary error response, so the outcome alone does not show it.
        """
        caller = asyncio.current_task()
        assert caller is not None
        cancels = caller.cancelling()
        task = asyncio.create_task(compat.call(loaded, endpoint, body))
        self._running.add(task)
        try:
            outcome = await task
        except asyncio.CancelledError:
            if caller.cancelling() > cancels or not self._closed:
                raise
            raise GenerationAborted from None
        except Exception as error:
            if caller.cancelling() > cancels:
                raise asyncio.CancelledError from error
            raise self._translate(error) from error
        finally:
            self._running.discard(task)
        if caller.cancelling() > cancels:
            raise asyncio.CancelledError
        if not isinstance(outcome, Failure):
            return outcome
        if self._closed:
            raise GenerationAborted
        raise EngineLost if self.lost else _error(outcome)

    def _translate(self, error: Exception) -> BackburnerError:
        if compat.is_death(error) or self.lost:
            self._lost = self._lost or not self._closed
            return EngineLost()
        return _error(compat.failure_of(error))


def _error(failure: Failure) -> BackburnerError:
    """The error of our own tree that a failure in OpenAI's form stands for."""
    status, message, param = failure.status, failure.message, failure.param
    if status in {429, 503}:
        return EngineBusy(message)
    if status in _RETRIED or (status >= _SERVER_ERROR_STATUS and status != _NOT_IMPLEMENTED_STATUS):
        return EngineError(message)
    if param in _CONTEXT_PARAMS or any(phrase in message for phrase in _CONTEXT_PHRASES):
        return ContextLengthExceeded(message, param=param)
    if status == ModelNotFound.http_status and param == "model":
        return ModelNotFound(message, param=param)
    return RequestRefused(message, param=param)
