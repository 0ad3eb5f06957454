"""The blocking twin of the client, for programs without an event loop, and for notebooks that have one running.

Every call runs on an event loop in a thread of the client's own, and waits for it. Callbacks are called in that
thread; iterables that are submitted are read in the caller's.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from backburner.blocking.job import SyncHandle, SyncJob
from backburner.blocking.loop_thread import Feed, LoopThread
from backburner.client import Client
from backburner.connections import DEFAULT_MAX_RETRIES
from backburner.dead_letters.letter import DeadLetter
from backburner.dead_letters.redrive import RedriveResult
from backburner.inputs.items import Item
from backburner.inputs.source import check_source
from backburner.job import Job
from backburner.jobs.streams import StreamStatus
from backburner.pools import PoolStatus
from backburner.settings import Settings
from backburner.settings.arguments import SettingArguments
from backburner.submission.forecast import DEFAULT_CACHE_TOKENS, JobForecast
from backburner.submission.options import Deadline
from backburner.submission.submission import SubmitProgress
from backburner_schemas.names import Lane, Priority
from backburner_schemas.pool import PoolManifest
from backburner_schemas.request import Endpoint, EndpointUrl
from backburner_schemas.status import BatchStatus

if TYPE_CHECKING:
    from backburner.publishers.base import Publisher
    from backburner.storage import Storage

T = TypeVar("T")
SourceT = TypeVar("SourceT", bound=Path | str | Iterable[Item] | None)


class SyncClient:
    """`Client`, blocking: the same arguments, results and errors. Close it, or use it as a context manager.

    It may be used from several threads, and where an event loop runs, as in a notebook.

        with SyncClient() as client:
            print(client.enqueue("What is the capital of France?", temperature=0).result(timeout=600).text)

            job = client.submit("prompts.jsonl")
            for record in job.results():
                print(record.custom_id, record.text)
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        timeout: float | None = None,
        max_retries: int = DEFAULT_MAX_RETRIES,
        **arguments: Unpack[SettingArguments],
    ) -> None:
        """See `Client`. Raises `SettingsError` for a setting that is unknown or cannot be used."""
        self._run_on_thread(Client(settings, timeout=timeout, max_retries=max_retries, **arguments))

    @classmethod
    def from_parts(cls, settings: Settings, storage: "Storage", publisher: "Publisher") -> Self:
        """See `Client.from_parts`."""
        client = cls.__new__(cls)
        client._run_on_thread(Client.from_parts(settings, storage, publisher))  # noqa: SLF001 - its own
        return client

    @classmethod
    def from_env_file(
        cls,
        path: Path | str | None = None,
        *,
        timeout: float | None = None,
        max_retries: int = DEFAULT_MAX_RETRIES,
        **arguments: Unpack[SettingArguments],
    ) -> Self:
        """See `Client.from_env_file`."""
        client = cls.__new__(cls)
        made = Client.from_env_file(path, timeout=timeout, max_retries=max_retries, **arguments)
        client._run_on_thread(made)  # noqa: SLF001 - its own
        return client

    def _run_on_thread(self, client: Client) -> None:
        self._client = client
        self._thread = LoopThread(client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect and end the thread. Safe to call twice. Raises `ClientError` in a callback of the client's own.

        A client that nobody refers to any more, nor to its jobs and handles, is closed by itself, as are all at the
        interpreter's end.
        """
        self._thread.close()

    @property
    def settings(self) -> Settings:
        """See `Client.settings`."""
        return self._client.settings

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run async work with the client behind this one, and wait for it.

        Returns what the work returns, and raises what it raises.

            with SyncClient() as client:
                pools = client.run(lambda inner: inner.pools())
        """
        return self._thread.call(lambda: work(self._client))

    def enqueue(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        body: Mapping[str, Any] | None = None,
        model: str | None = None,
        endpoint: EndpointUrl = Endpoint.CHAT,
        custom_id: str | None = None,
        priority: Priority = Lane.NORMAL,
        deadline: Deadline | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
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
                idempotency_key=idempotency_key,
                extra_body=extra_body,
                timeout=timeout,
                **parameters,
            )
        )
        return SyncHandle(self._thread, handle)

    def submit(
        self,
        source: Path | str | Iterable[Item],
        *,
        job_id: str | None = None,
        priority: Priority = Lane.NORMAL,
        deadline: Deadline | None = None,
        metadata: Mapping[str, str] | None = None,
        model: str | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        skip_invalid: bool = False,
        on_progress: Callable[[SubmitProgress], object] | None = None,
        parent: str | None = None,
        stored: bool = False,
        window: str | None = None,
        timezone: str | None = None,
        timeout: float | None = None,
    ) -> SyncJob:
        """See `Client.submit`. An iterable is read in the thread that calls this."""
        return self._job_from(
            source,
            lambda given: self._client.submit(
                given,
                job_id=job_id,
                priority=priority,
                deadline=deadline,
                metadata=metadata,
                model=model,
                pool=pool,
                tenant=tenant,
                skip_invalid=skip_invalid,
                on_progress=on_progress,
                parent=parent,
                stored=stored,
                window=window,
                timezone=timezone,
                timeout=timeout,
            ),
        )

    def plan(
        self,
        path: Path | str,
        *,
        pool: str | None = None,
        tenant: str | None = None,
        skip_invalid: bool = False,
        cache_tokens: int = DEFAULT_CACHE_TOKENS,
        on_progress: Callable[[int], None] | None = None,
    ) -> JobForecast:
        """See `Client.plan`."""
        return self._thread.call(
            lambda: self._client.plan(
                path,
                pool=pool,
                tenant=tenant,
                skip_invalid=skip_invalid,
                cache_tokens=cache_tokens,
                on_progress=on_progress,
            )
        )

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

    def streams(
        self, *, tenant: str | None = None, limit: int = 20, after: str | None = None
    ) -> Iterator[StreamStatus]:
        """See `Client.streams`."""

        async def batches() -> AsyncGenerator[Sequence[StreamStatus]]:
            async for stream in self._client.streams(tenant=tenant, limit=limit, after=after):
                yield [stream]

        return self._thread.iterate(batches)

    def stream(self, id: str, *, tenant: str | None = None) -> StreamStatus:  # noqa: A002 - as in Client
        """See `Client.stream`."""
        return self._thread.call(lambda: self._client.stream(id, tenant=tenant))

    def dead_letters(
        self, job: str | None = None, *, tenant: str | None = None, stale: bool = False, unaddressed: bool = False
    ) -> Iterator[DeadLetter]:
        """See `Client.dead_letters`."""

        async def batches() -> AsyncGenerator[Sequence[DeadLetter]]:
            async for letter in self._client.dead_letters(job, tenant=tenant, stale=stale, unaddressed=unaddressed):
                yield [letter]

        return self._thread.iterate(batches)

    def dead_letter(self, id: str, *, tenant: str | None = None) -> DeadLetter:  # noqa: A002 - as in Client
        """See `Client.dead_letter`."""
        return self._thread.call(lambda: self._client.dead_letter(id, tenant=tenant))

    def redrive(
        self,
        *,
        job: str | None = None,
        id: str | None = None,  # noqa: A002 - as in Client
        all: bool = False,  # noqa: A002 - as in Client
        tenant: str | None = None,
        deadline: Deadline | None = None,
    ) -> RedriveResult:
        """See `Client.redrive`."""
        return self._thread.call(
            lambda: self._client.redrive(job=job, id=id, all=all, tenant=tenant, deadline=deadline)
        )

    def purge_dead_letters(
        self,
        *,
        job: str | None = None,
        id: str | None = None,  # noqa: A002 - as in Client
        all: bool = False,  # noqa: A002 - as in Client
        unaddressed: bool = False,
        tenant: str | None = None,
    ) -> int:
        """See `Client.purge_dead_letters`."""
        return self._thread.call(
            lambda: self._client.purge_dead_letters(job=job, id=id, all=all, unaddressed=unaddressed, tenant=tenant)
        )

    def retry_failed(
        self,
        job: str,
        *,
        input: Path | str | Iterable[Item] | None = None,  # noqa: A002 - as in Client
        priority: Priority | None = None,
        deadline: Deadline | None = None,
        tenant: str | None = None,
        on_progress: Callable[[SubmitProgress], object] | None = None,
    ) -> SyncJob:
        """See `Client.retry_failed`. An iterable is read in the thread that calls this."""
        return self._job_from(
            input,
            lambda given: self._client.retry_failed(
                job, input=given, priority=priority, deadline=deadline, tenant=tenant, on_progress=on_progress
            ),
        )

    def pools(self) -> list[PoolStatus]:
        """See `Client.pools`."""
        return self._thread.call(self._client.pools)

    def default_model(self) -> str:
        """See `Client.default_model`."""
        return self._thread.call(self._client.default_model)

    def register_pool(self, model: str) -> PoolManifest:
        """See `Client.register_pool`."""
        return self._thread.call(lambda: self._client.register_pool(model))

    def add_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """See `Client.add_aliases`."""
        return self._thread.call(lambda: self._client.add_aliases(pool, aliases))

    def remove_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """See `Client.remove_aliases`."""
        return self._thread.call(lambda: self._client.remove_aliases(pool, aliases))

    def remove_pool(self, pool: str) -> PoolManifest:
        """See `Client.remove_pool`."""
        return self._thread.call(lambda: self._client.remove_pool(pool))

    def _job_from(self, source: SourceT, make: Callable[[SourceT | AsyncIterable[Item]], Awaitable[Job]]) -> SyncJob:
        """The job that the work makes. An iterable is read here, and handed over."""
        if source is None or isinstance(source, (str, Path)):
            return SyncJob(self._thread, self._thread.call(lambda: make(source)))
        check_source(source)
        feed = Feed[Item](self._thread)
        given = feed.sized(len(source)) if isinstance(source, Sized) else feed.items()
        future = self._thread.start(lambda: make(given))
        try:
            feed.fill(source, future)
            return SyncJob(self._thread, self._thread.result(future))
        except BaseException as error:
            self._thread.break_off(future, error)
            raise
