"""What a client is connected to: settings, store, publisher and pools. Each is opened at its first use."""

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backburner.settings import Settings
from backburner_schemas.errors import ClientClosed

if TYPE_CHECKING:
    # Imported at first use, so that `import backburner` stays light.
    from backburner.jobs.job_watch import JobWatch
    from backburner.pools import PoolDirectory
    from backburner.publishers.base import Publisher
    from backburner.storage import Storage


MethodT = TypeVar("MethodT", bound=Callable[..., Any])


class Connections:
    """Opens each part once and hands it out. `close` closes what was opened; after it, all raises `ClientClosed`."""

    def __init__(
        self, settings: Settings, storage: "Storage | None" = None, publisher: "Publisher | None" = None
    ) -> None:
        self.settings = settings
        self._storage = storage
        self._pools: PoolDirectory | None = None
        self._publisher = publisher
        self._started = False
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
        """The publisher, connected. Raises `SettingsError` if no queue is set, `QueueError` if no broker answers."""
        async with self._starting:
            self.check_open()
            if self._publisher is None:
                from backburner.publishers import open_publisher

                self._publisher = open_publisher(self.settings)
            if not self._started:
                await self._publisher.start()
                self._started = True
        return self._publisher

    def check_open(self) -> None:
        """Raise `ClientClosed` behind `close`."""
        if self._closed:
            raise ClientClosed

    async def close(self) -> None:
        """Close what was opened. Safe to call twice."""
        self._closed = True
        async with self._starting:
            publisher, self._publisher, self._started = self._publisher, None, False
            if publisher is not None:
                await publisher.close()


def while_open(method: MethodT) -> MethodT:
    """Let a closed client's method raise `ClientClosed` where it is called, not where its iterator is first used."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._connections.check_open()
        return method(self, *args, **kwargs)

    return cast("MethodT", call)
