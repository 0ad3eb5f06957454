"""What a worker checks while its engine loads, in a thread of its own: pool, adapters' names and queue.

A model loads for a long time on the main thread. Nothing else should take time after it, and nobody should wait for it
to learn that a pool's name is wrong. What the checks import is loaded too when the model is warm.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from backburner.logs import get_logger
from backburner.pools import PoolDirectory
from backburner.runtime.failure import exit_status, log_reasons
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.errors import PoolConflict, PoolNotFound, QueueError
from backburner_schemas.pool import PoolManifest
from backburner_worker.engine.base import Engine, EngineInfo
from backburner_worker.engine.served import expected_name
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.factory import check_source

_HEARD_SECONDS = 2.0
"""Bounds the event loop's reaction to a failure: after that, a load holds it that only the process's end ends."""
_CLOSE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
"""Between two looks for a pool that is not registered yet."""

log = get_logger(__name__)


class Checks:
    """The checks of one worker: `load` begins them and the engine, `passed` waits for what is left; `close` at the end.

    A failure is raised as soon as the event loop turns. While a load holds the loop, nothing else can end it: then the
    reasons are logged and the process ends, as it would have ended later. Nothing was pulled by then.
    """

    def __init__(
        self, settings: WorkerSettings, storage: Storage, *, check: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`check` replaces all the checks."""
        self._settings = settings
        self._storage = storage
        self._check = check or self._all
        self._model = expected_name(
            settings.engine, model=settings.model, given=settings.served_name, engine_args=settings.engine_args
        )
        self._over: asyncio.Future[None] | None = None
        self._heard = threading.Event()
        self._thread: threading.Thread | None = None
        self._own: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    async def load(self, engine: Engine) -> EngineInfo:
        """What the engine offers, warm. Raises what `Engine.start` raises, or what the checks find before."""
        loop = asyncio.get_running_loop()
        over = self._over = loop.create_future()
        loading = asyncio.ensure_future(engine.start())

        def ended(_: object) -> None:
            if not over.cancelled() and over.exception() is not None:
                loading.cancel()

        over.add_done_callback(ended)
        self._thread = threading.Thread(target=self._run, args=(loop, over), name="checks", daemon=True)
        self._thread.start()
        try:
            return await loading
        except asyncio.CancelledError:
            if over.done() and not over.cancelled() and (failure := over.exception()) is not None:
                raise failure from None
            raise

    async def passed(self, info: EngineInfo) -> None:
        """Return when all is right. Raises `PoolNotFound`, `PoolConflict`, `QueueError` and `StoreDenied`.

        Waits for a store that is away.
        """
        if self._over is not None:
            await self._over
        if info.models[0] != self._model:
            await self._check_pool(info.models[0])

    def close(self) -> None:
        """Give up what is still waited for."""
        self._heard.set()
        if self._own is not None:
            loop, task = self._own
            with suppress(RuntimeError):  # It may be over by now.
                loop.call_soon_threadsafe(task.cancel)
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self, loop: asyncio.AbstractEventLoop, over: "asyncio.Future[None]") -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._cancellable())
        except asyncio.CancelledError:
            if self._heard.is_set():
                return
            # Nobody cancelled the checks: a library leaked it, and `passed` would wait for ever.
            failure = QueueError("the checks beside the load were broken off; start the worker again")
        except Exception as error:  # noqa: BLE001 - it is raised where it is heard
            failure = error
        with suppress(RuntimeError):  # The worker has ended by itself.
            loop.call_soon_threadsafe(self._end, over, failure)
        if failure is not None and not self._heard.wait(_HEARD_SECONDS) and log_reasons(failure, "worker"):
            sys.stdout.flush()
            os._exit(exit_status(failure))

    def _end(self, over: "asyncio.Future[None]", failure: BaseException | None) -> None:
        self._heard.set()
        if over.done():
            return
        if failure is None:
            over.set_result(None)
        else:
            over.set_exception(failure)

    async def _cancellable(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._own = asyncio.get_running_loop(), task
        if not self._heard.is_set():
            await self._check()

    async def _all(self) -> None:
        if self._model is not None:
            await self._check_pool(self._model)
            await check_source(self._settings, self._settings.pool_for(self._model))

    async def _check_pool(self, model: str) -> None:
        pool = self._settings.pool_for(model)
        await check_pool(self._storage, pool, model, wait=self._settings.pool_wait_seconds)
        await check_adapters(self._storage, pool, [adapter.name for adapter in self._settings.lora_adapters])


async def check_pool(storage: Storage, pool: str, model: str, *, wait: float = 0.0) -> None:
    """Raise `PoolNotFound` unless the pool is registered for this model, within `wait` seconds.

    One that is registered for another model is not waited for. A store that is away is, for as long as that takes.
    """
    remedy = f"run `backburner topics ensure --pool {model}` first"
    begun = time.monotonic()
    told = False
    while (stored := await until_stored(lambda: storage.get(keys.pool(pool)), "read the pool")) is None:
        left = begun + wait - time.monotonic()
        if left <= 0:
            waited = f" after {wait:g} s" if wait else ""
            raise PoolNotFound(f"the pool {pool} is not registered{waited}; {remedy}")
        if not told:
            log.warning("pool not registered yet; waiting", pool=pool, model=model, seconds=wait, remedy=remedy)
            told = True
        await asyncio.sleep(min(_LOOK_SECONDS, left))
    registered = parse_stored(PoolManifest, keys.pool(pool), stored.data).model
    if registered != model:
        raise PoolNotFound(f"the pool {pool} is registered for {registered} and this worker serves {model}; {remedy}")


async def check_adapters(storage: Storage, pool: str, adapters: Sequence[str]) -> None:
    """Raise `PoolConflict` if an adapter has the name of a base model or an alias, which mean another model.

    Warns if live workers of this pool have other adapters: any of them may get any request.
    """
    if not adapters:
        return
    for status in await until_stored(PoolDirectory(storage).read, "read the pools"):
        if status.model in adapters:
            raise PoolConflict(
                f"BACKBURNER_ADAPTERS: {status.model!r} is the base model of the pool {status.pool}, which gets all "
                "requests that name it; give the adapter another name"
            )
        for alias in set(status.aliases).intersection(adapters):
            raise PoolConflict(
                f"BACKBURNER_ADAPTERS: {alias!r} is an alias of the pool {status.pool}; give the adapter another name, "
                f"or remove the alias with `backburner pools alias {status.pool} {alias} --remove`"
            )
        if status.pool == pool and any(set(worker.adapters) != set(adapters) for worker in status.workers):
            log.warning(
                "workers of the pool have different adapters; until all have the same, requests can end as "
                "model_not_found",
                here=sorted(adapters),
                pool=status.adapters,
            )
