"""What a client is connected to: settings, store, publisher and pools. Each is opened at its first use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backburner.settings import Settings
from backburner_schemas.errors import ClientClosed, ClientError, ResultTimeout, SettingsError

if TYPE_CHECKING:
    # Imported at first use, so that `import backburner` stays light.
    from backburner.jobs.job_watch import JobWatch
    from backburner.pools import PoolDirectory
    from backburner.publishers.base import Publisher
    from backburner.storage import Storage


MethodT = TypeVar("MethodT", bound=Callable[..., Any])
DEFAULT_MAX_RETRIES = 4
"""How often a message that the broker did not acknowledge is sent again."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What a client's calls may take."""

    timeout: float | None = None
    """Seconds for a call that does not wait for answers; None for as long as store and broker take."""
    max_retries: int = DEFAULT_MAX_RETRIES
    """How often a message that the broker did not acknowledge is sent again."""

    def __post_init__(self) -> None:
        """Raise `SettingsError` for what cannot be."""
        if self.timeout is not None and not self.timeout > 0:
            raise SettingsError("timeout is a number of seconds above 0, or None")
        if self.max_retries < 0:
            raise SettingsError("max_retries is a number from 0 on")


@asynccontextmanager
async def bounded(what: str, seconds: float | None, *, job: str | None = None, remedy: str = "") -> AsyncIterator[None]:
    """A call within the block, which is cancelled after so many seconds; None: never.

    `what` was not done then, in the words of the error, which is about that job. Raises `ResultTimeout`.
    """
    try:
        async with asyncio.timeout(seconds) as bound:
            yield
    except TimeoutError as error:
        if not bound.expired() or isinstance(error, ResultTimeout):
            raise
        late = ResultTimeout(f"{what} within {seconds:g} s")
        raise (late if job is None else late.of_job(job, remedy)) from error


class Connections:
    """Opens each part once and hands it out. `close` closes what was opened; after it, all raises `ClientClosed`."""

    def __init__(
        self,
        settings: Settings,
        storage: "Storage | None" = None,
        publisher: "Publisher | None" = None,
        *,
        limits: CallLimits | None = None,
    ) -> None:
        self.settings = settings
        self.limits = limits or CallLimits()
        self._storage = storage
        self._pools: PoolDirectory | None = None
        self._publisher = publisher
        self._started = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """What the publisher was started on."""
        self._closed = False
        self._starting = asyncio.Lock()
        self._watch: JobWatch | None = None

    @property
    def storage(self) -> "Storage":
        """The object store. Raises `SettingsError` if none is set."""
        self.check_open()
        if self._storage is None:
            from backburner.storage import Storage

            self._storage = Storage.open(self.settings)
        return self._storage

    @property
    def pools(self) -> "PoolDirectory":
        """The pools that are registered in the store."""
        self.check_open()
        if self._pools is None:
            from backburner.pools import PoolDirectory

            self._pools = PoolDirectory(self.storage)
        return self._pools

    @property
    def job_watch(self) -> "JobWatch":
        """Since when this client sees what may end a job."""
        if self._watch is None:
            from backburner.jobs.job_watch import JobWatch

            self._watch = JobWatch()
        return self._watch

    async def publisher(self) -> "Publisher":
        """The publisher, connected.

        Raises `SettingsError` if no queue is set, `QueueError` if no broker answers, and `ClientError` on another event
        loop than the one that it was connected on.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise ClientError(
                "the client was used on another event loop before, which has its connections; create one in each "
                "asyncio.run(…), or take SyncClient, which has its own loop"
            )
        async with self._starting:
            self.check_open()
            if self._publisher is None:
                from backburner.publishers import open_publisher

                self._publisher = open_publisher(self.settings)
            if not self._started:
                await self._publisher.start()
                self._started, self._loop = True, asyncio.get_running_loop()
        return self._publisher

    def bounded(
        self, what: str, timeout: float | None = None, *, job: str | None = None, remedy: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """A call within the block, which may take so many seconds, or else those of the client. As `bounded`."""
        return bounded(what, self.limits.timeout if timeout is None else timeout, job=job, remedy=remedy)

    def check_open(self) -> None:
        """Raise `ClientClosed` behind `close`."""
        if self._closed:
            raise ClientClosed

    async def close(self) -> None:
        """Close what was opened. Safe to call twice."""
        self._closed = True
        async with self._starting:
            publisher, self._publisher, self._started = self._publisher, None, False
            # Of a loop that has ended nothing is left that could be closed.
            if publisher is not None and self._loop in (None, asyncio.get_running_loop()):
                await publisher.close()


def while_open(method: MethodT) -> MethodT:
    """Let a closed client's method raise `ClientClosed` where it is called, not where its iterator is first used."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._connections.check_open()
        return method(self, *args, **kwargs)

    return cast("MethodT", call)
