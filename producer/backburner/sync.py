"""The blocking twin of the client, for programs without an event loop, and for notebooks that have one running.

Every call runs on an event loop in a thread of the client's own, and waits for it. Callbacks are called in that
thread; iterables that are submitted are read in the caller's.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from backburner.client import Client
from backburner.findings import SkippedLine
from backburner.handle import Handle
from backburner.inputs import Item
from backburner.job import Job
from backburner.joining import JoinedResult
from backburner.loopthread import Feed, LoopThread
from backburner.orders import Deadline
from backburner.pools import PoolStatus
from backburner.reconcile import Reconciliation
from backburner.settings import Settings
from backburner.submit import SubmitProgress
from backburner_schemas.names import Lane
from backburner_schemas.pool import PoolManifest
from backburner_schemas.request import Endpoint
from backburner_schemas.result import ResultRecord
from backburner_schemas.status import BatchStatus

if TYPE_CHECKING:
    from backburner.publishers.base import Publisher
    from backburner.storage import Storage

T = TypeVar("T")


class SyncHandle:
    """`Handle`, blocking."""

    def __init__(self, thread: LoopThread, handle: Handle) -> None:
        self._thread = thread
        self._handle = handle
        self.id = handle.id
        self.job = handle.job
        self.custom_id = handle.custom_id
        self.tenant = handle.tenant
        self.key = handle.key
        self.warnings = handle.warnings

    def __repr__(self) -> str:
        return f"Sync{self._handle!r}"

    def result(self, *, timeout: float | None = None) -> ResultRecord:
        """See `Handle.result`."""
        return self._thread.call(lambda: self._handle.result(timeout=timeout))

    def peek(self) -> ResultRecord | None:
        """See `Handle.peek`."""
        return self._thread.call(self._handle.peek)


class SyncJob:
    """`Job`, blocking."""

    def __init__(self, thread: LoopThread, job: Job) -> None:
        self._thread = thread
        self._job = job
        self.id = job.id
        self.tenant = job.tenant
        self.skipped: Sequence[SkippedLine] = job.skipped
        self.warnings = job.warnings

    def __repr__(self) -> str:
        return f"Sync{self._job!r}"

    def status(self) -> BatchStatus:
        """See `Job.status`."""
        return self._thread.call(self._job.status)

    @overload
    def results(self, *, join: None = None, follow: bool = True) -> Iterator[ResultRecord]: ...
    @overload
    def results(self, *, join: Path | str | Iterable[Item], follow: bool = True) -> Iterator[JoinedResult]: ...
    def results(
        self, *, join: Path | str | Iterable[Item] | None = None, follow: bool = True
    ) -> Iterator[ResultRecord]:
        """See `Job.results`."""
        return self._thread.iterate(lambda: self._job.result_batches(join=join, follow=follow))

    def wait(
        self, *, timeout: float | None = None, progress: Callable[[BatchStatus], None] | None = None
    ) -> BatchStatus:
        """See `Job.wait`."""
        return self._thread.call(lambda: self._job.wait(timeout=timeout, progress=progress))

    def cancel(self) -> BatchStatus:
        """See `Job.cancel`."""
        return self._thread.call(self._job.cancel)

    def reconcile(self) -> Reconciliation:
        """See `Job.reconcile`."""
        return self._thread.call(self._job.reconcile)


class SyncClient:
    """`Client`, blocking. Close it, or use it as a context manager.

    with SyncClient() as client:
        print(client.enqueue("What is the capital of France?").result(timeout=600).text)
    """

    def __init__(self, settings: Settings | None = None, **arguments: Any) -> None:
        """Raises `SettingsError` for a setting that is unknown or cannot be used."""
        self._client = Client(settings, **arguments)
        self._thread = LoopThread()

    @classmethod
    def of(cls, settings: Settings, storage: "Storage", publisher: "Publisher") -> Self:
        """See `Client.of`."""
        client = cls(settings)
        client._client = Client.of(settings, storage, publisher)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect and end the thread. Safe to call twice."""
        if self._thread.closed:
            return
        try:
            self._thread.call(self._client.close)
        finally:
            self._thread.close()

    @property
    def settings(self) -> Settings:
        """What the client was told."""
        return self._client.settings

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run async work with the client behind this one, and wait for it."""
        return self._thread.call(lambda: work(self._client))

    def enqueue(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        body: Mapping[str, Any] | None = None,
        model: str | None = None,
        endpoint: Endpoint = Endpoint.CHAT,
        custom_id: str | None = None,
        priority: Lane = Lane.NORMAL,
        deadline: Deadline | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        **parameters: Any,
    ) -> SyncHandle:
        """See `Client.enqueue`."""
        handle = self._thread.call(
            lambda: self._client.enqueue(
                prompt,
                messages=messages,
                body=body,
                model=model,
                endpoint=endpoint,
                custom_id=custom_id,
                priority=priority,
                deadline=deadline,
                pool=pool,
                tenant=tenant,
                **parameters,
            )
        )
        return SyncHandle(self._thread, handle)

    def submit(
        self,
        source: Path | str | Iterable[Item],
        *,
        job_id: str | None = None,
        priority: Lane = Lane.NORMAL,
        deadline: Deadline | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        skip_invalid: bool = False,
        on_progress: Callable[[SubmitProgress], None] | None = None,
        parent: str | None = None,
    ) -> SyncJob:
        """See `Client.submit`. An iterable is read in the thread that calls this."""
        feed = None if isinstance(source, (str, Path)) else Feed[Item](self._thread)
        future = self._thread.start(
            lambda: self._client.submit(
                source if feed is None else feed.items(),
                job_id=job_id,
                priority=priority,
                deadline=deadline,
                metadata=metadata,
                pool=pool,
                tenant=tenant,
                skip_invalid=skip_invalid,
                on_progress=on_progress,
                parent=parent,
            )
        )
        try:
            if feed is not None and not isinstance(source, (str, Path)):
                feed.fill(source, future)
            return SyncJob(self._thread, future.result())
        except BaseException:
            future.cancel()
            raise

    def job(self, id: str, *, tenant: str | None = None) -> SyncJob:  # noqa: A002 - as in Client
        """See `Client.job`."""
        return SyncJob(self._thread, self._client.job(id, tenant=tenant))

    def handle(self, id: str, *, tenant: str | None = None) -> SyncHandle:  # noqa: A002 - as in Client
        """See `Client.handle`."""
        return SyncHandle(self._thread, self._client.handle(id, tenant=tenant))

    def jobs(self, *, tenant: str | None = None, limit: int = 20, after: str | None = None) -> Iterator[BatchStatus]:
        """See `Client.jobs`."""

        async def batches() -> AsyncGenerator[Sequence[BatchStatus]]:
            async for status in self._client.jobs(tenant=tenant, limit=limit, after=after):
                yield [status]

        return self._thread.iterate(batches)

    def pools(self) -> list[PoolStatus]:
        """See `Client.pools`."""
        return self._thread.call(self._client.pools)

    def register_pool(self, model: str) -> PoolManifest:
        """See `Client.register_pool`."""
        return self._thread.call(lambda: self._client.register_pool(model))
