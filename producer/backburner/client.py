"""The client: everything that users do with requests, jobs, dead letters and pools begins here."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from backburner.connections import DEFAULT_MAX_RETRIES, CallLimits, Connections, bounded, while_open
from backburner.dead_letters.letter import DeadLetter
from backburner.dead_letters.redrive import Redrive, RedriveResult
from backburner.dead_letters.retry import RetryFailed, RetryOptions
from backburner.dead_letters.store import DeadLetterStore, check_one
from backburner.handle import Handle, parse_handle
from backburner.inputs.source import Source
from backburner.job import Job
from backburner.jobs.listing import list_jobs
from backburner.jobs.streams import StreamStatus, list_streams, view_stream
from backburner.pools import PoolStatus
from backburner.runtime.remedies import noting
from backburner.settings import Settings
from backburner.settings.arguments import SettingArguments
from backburner.submission.forecast import DEFAULT_CACHE_TOKENS, JobForecast, forecast_job
from backburner.submission.options import Deadline, checked_name, chosen_lane, manifest_of, tenant_of
from backburner.submission.single import SingleOptions, SingleSubmission, body_of, check_names, endpoint_of
from backburner.submission.stored_submission import StoredSubmission
from backburner.submission.submission import Submission, SubmitOptions, SubmitProgress, resume_remedy
from backburner_schemas import keys
from backburner_schemas.errors import JobError
from backburner_schemas.names import Lane, Priority
from backburner_schemas.pool import PoolManifest
from backburner_schemas.request import Endpoint, EndpointUrl
from backburner_schemas.status import BatchStatus

if TYPE_CHECKING:
    from backburner.publishers.base import Publisher
    from backburner.storage import Storage


_ENQUEUE_NAMES = (
    *("prompt", "messages", "body", "model", "endpoint", "custom_id", "priority", "deadline", "pool", "tenant"),
    *("idempotency_key", "extra_body", "timeout"),
)
"""The named arguments of `enqueue`, one of which is meant where another is almost so called."""


class Client:
    """Puts requests on the back burner and reads what became of them.

    Settings come from arguments, such as `Client(store_url="s3://bucket/root")`, then from BACKBURNER_… variables.
    Nothing connects before it is needed: a client that only reads needs no broker.

        async with Client() as client:
            handle = await client.enqueue("What is the capital of France?", max_tokens=16, temperature=0)
            record = await handle.result(timeout=600)
            print(record.text)

            job = await client.submit("prompts.jsonl")
            async for record in job.results():
                print(record.custom_id, record.text)

    Use it from one event loop. Every method raises `StoreError` if the object store does not answer.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        timeout: float | None = None,
        max_retries: int = DEFAULT_MAX_RETRIES,
        **arguments: Unpack[SettingArguments],
    ) -> None:
        """`timeout` is how many seconds a call may take that waits for no answer, such as `enqueue` and `pools`.

        Calls that take as long as there is something to read, send or remove are not among them, such as `submit`,
        `results` and `redrive`; submitting and waiting have a `timeout` of their own.

        `max_retries` is how often a message that the broker did not acknowledge is sent again. All else are settings,
        by the names of docs/settings.md without their prefix. Raises `SettingsError` for one that is unknown or cannot
        be used.
        """
        self._connections = Connections(
            settings if settings is not None else Settings.load(**arguments),
            limits=CallLimits(timeout, max_retries),
        )

    @classmethod
    def from_parts(cls, settings: Settings, storage: "Storage", publisher: "Publisher") -> Self:
        """Make a client of given parts, for tests and for other transports.

        Returns a client that starts these parts when it needs them, and closes them.
        """
        client = cls(settings)
        client._connections = Connections(settings, storage, publisher)
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
        """Make a client of an embedded stack, from the file that `backburner up` writes, as in a notebook.

        Without a path it is `.backburner/env` in the working folder, or the nearest folder above it that has one. What
        the file says goes before the environment, arguments go before both, and the environment stays as it is. Each
        `up` writes the file anew. `timeout` and `max_retries` are as in `Client(…)`.

        Returns the client. Raises `SettingsError` if there is no file, or it cannot be used.

            client = Client.from_env_file()
            print(await client.pools())
            await client.close()
        """
        from backburner.local.control import env_file

        file = env_file.find(Path.cwd()) if path is None else Path(path)
        settings = Settings.from_variables(env_file.read(file), **arguments)
        return cls(settings, timeout=timeout, max_retries=max_retries)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect, and close what was opened. Safe to call twice."""
        await self._connections.close()

    @property
    def settings(self) -> Settings:
        """The settings that the client was made with."""
        return self._connections.settings

    async def enqueue(
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
    ) -> Handle:
        """Put one request onto the queue; returns its handle when the broker has it.

        Give exactly one of `prompt`, `messages` and `body`. Other named arguments, such as `max_tokens`, go into the
        body, if its endpoint has such a field; what your operator allows beside goes into `extra_body`. Without a model
        it is that of `pool`, of the setting `pool`, or of the only pool that has workers. `deadline` is in seconds from
        now, a `timedelta` or a moment, 24 hours from now if not given; a request that is not started by then ends with
        the error `expired`.

        With an `idempotency_key` the same call may be made again, by any process, and makes no second request: it
        returns the handle of the first. Without one, `enqueue` is never repeated by itself, but within `max_retries`
        for what the broker did not acknowledge. `timeout` is in seconds, the client's if not given.

        Raises `RequestRefused`, also if `pool` has workers and none of them serves the model; `PoolNotFound`;
        `PoolError` where a model has to be named; `JobError` for an option that cannot be; `JobConflict` for a key
        that another request has; `ResultTimeout`, after which the request may be on the queue; and `QueueError`.

            handle = await client.enqueue(
                messages=[
                    {"role": "system", "content": "Answer with one word."},
                    {"role": "user", "content": "What is the capital of Japan?"},
                ],
                priority="high",
                deadline=600,
                max_tokens=16,
                temperature=0,
            )
            print(handle.id, (await handle.result(timeout=600)).text)
        """
        owner = tenant_of(self.settings, tenant)
        now = await self._connections.storage.time()
        job = keys.new_single_job_id(now) if idempotency_key is None else keys.keyed_single_job_id(idempotency_key)
        url = endpoint_of(endpoint)
        check_names(url, parameters, _ENQUEUE_NAMES)
        made = body_of(
            url,
            prompt=prompt,
            messages=messages,
            body=body,
            model=model,
            parameters={**parameters, **(extra_body or {})},
        )
        single = SingleSubmission(self._connections, owner, job, keyed=idempotency_key is not None)
        options = SingleOptions(custom_id, url, made, chosen_lane(priority), deadline, pool)
        again = "the same idempotency_key" if idempotency_key is not None else "an idempotency_key, to be sure of one"
        remedy = (
            f"the request {job} may be on the queue: ask client.handle({job!r}) (backburner results {job}), or enqueue "
            f"with {again}"
        )
        late = "the broker did not acknowledge the request"
        async with self._connections.bounded(late, timeout, job=job, remedy=remedy):
            with noting(remedy):
                sent = await single.run(options)
        return Handle(self._connections, owner, job, sent.custom_id, warnings=sent.warnings, deadline=sent.deadline)

    async def submit(
        self,
        source: Source,
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
    ) -> Job:
        """Put many requests onto the queue as one job; returns the job when the broker has all of them.

        `source` is the path of a JSONL file, or an iterable or async iterable of dicts, `BatchRequest`s or lines; it
        may be longer than memory. Each request goes to the pool of its model, or all of them to `pool`. `model` takes
        the place of the model that each request names, if any. `deadline` is in seconds from now, a `timedelta` or a
        moment, 24 hours from now if not given. `metadata` is kept with the job: up to 16 pairs of 64 and 512
        characters.

        A file is checked as a whole before anything is sent. An iterable is checked as it goes, and its first bad
        item cancels the job. With `skip_invalid` the bad ones are left out and listed in `job.skipped`.

        With the `job_id` of a submit that was broken off, and the same input, it goes on where that one stopped; the
        first submit's other options stay. If the job is sealed already, nothing is sent.

        Raises `InvalidInput` with its `.findings`; `JobConflict` if the job was made from another input, has ended, or
        is being submitted elsewhere; `Cancelled` if it was cancelled meanwhile; `PoolNotFound`; `RequestRefused` if
        `pool` has workers and none of them serves what the requests name; `JobError` for an option that cannot be; and
        `QueueError`.

        With `stored` the requests go into the object store instead, and a dispatcher puts them onto the queue, in the
        order that suits the engine best, and fairly between tenants. No queue is needed here, the deadline may be later
        than the broker keeps requests, and the job can be paused. With `window`, such as `22:00-06:00`, it is sent only
        in these hours of each day, by the clocks of `timezone`, such as `Europe/Berlin`; UTC if not given.

        `timeout` is in seconds; a submit that takes longer is broken off, and raises `ResultTimeout`. Every error of a
        submit that was broken off has the `job_id`. `on_progress` may be async, and gets the job's id too.

            from datetime import timedelta

            try:
                job = await client.submit("prompts.jsonl", priority="low", deadline=timedelta(hours=12))
            except InvalidInput as refused:
                for finding in refused.findings:
                    print(finding.line, finding.message)
            else:
                print(job.id, (await job.wait()).status)
        """
        connections = self._connections
        if pool is not None:
            pool = await connections.pools.check_pool(pool)
        manifest = manifest_of(
            self.settings,
            now=await connections.storage.time(),
            tenant=tenant,
            job_id=job_id,
            priority=priority,
            deadline=deadline,
            metadata=metadata,
            model=model,
            pool=pool,
            parent=parent,
            stored=stored,
            window=window,
            timezone=timezone,
        )
        options = SubmitOptions(manifest, skip_invalid, on_progress)
        submission = (StoredSubmission if stored else Submission)(connections, options)
        # Not the client's own time-out: how long it takes depends on the input.
        late = f"job {manifest.id} was not sent as a whole"
        async with bounded(late, timeout, job=manifest.id, remedy=resume_remedy(manifest.id, stored=stored)):
            done = await submission.run(source)
        return Job(connections, manifest.tenant, manifest.id, skipped=done.skipped, warnings=done.warnings)

    async def plan(
        self,
        path: Path | str,
        *,
        pool: str | None = None,
        tenant: str | None = None,
        skip_invalid: bool = False,
        cache_tokens: int = DEFAULT_CACHE_TOKENS,
        on_progress: Callable[[int], None] | None = None,
    ) -> JobForecast:
        """Find out what a file of requests would take as a stored job, and what its order gains; nothing is sent.

        The file is checked as `submit` checks it, and `pool`, `tenant` and `skip_invalid` mean the same. `cache_tokens`
        are the KV tokens that an engine's cache is taken to hold, where the order of the file is compared;
        `on_progress` is called with the number of lines that were read.

        Returns the forecast. Raises `InvalidInput` with its `.findings`, `PoolNotFound`, and `JobError` for a name
        that cannot be.

            found = await client.plan("prompts.jsonl")
            print(f"planned: {found.hit_ratio:.0%} hits; in the order of the file: {found.file_order_hit_ratio:.0%}")
        """
        owner = tenant_of(self.settings, tenant)
        if pool is not None:
            pool = await self._connections.pools.check_pool(pool)
        return await forecast_job(
            self._connections,
            Path(path),
            tenant=owner,
            pool=pool,
            skip_invalid=skip_invalid,
            cache_tokens=cache_tokens,
            report=on_progress,
        )

    def job(self, id: str, *, tenant: str | None = None) -> Job:  # noqa: A002 - the word that users know it by
        """A job by its id, whoever submitted it.

        Returns the job without looking for it: its methods raise `JobNotFound`. Raises `JobError` for what cannot be an
        id.
        """
        return Job(self._connections, tenant_of(self.settings, tenant), checked_name(id, "job id"))

    def handle(self, id: str, *, tenant: str | None = None) -> Handle:  # noqa: A002 - the same
        """A single request by its handle's id, whoever enqueued it.

        Returns the handle without looking for its answer. Raises `JobError` for what cannot be an id.
        """
        job, custom_id = parse_handle(id)
        if not custom_id:
            raise JobError(f"the handle id {id!r} ends in '/'; a handle id is the job's id, or job/custom_id")
        if keys.job_made_at(job) is not None:
            raise JobError(f"{job} is a job and no single request; see client.job({job!r})").of_job(job)
        return Handle(self._connections, tenant_of(self.settings, tenant), checked_name(job, "handle id"), custom_id)

    @while_open
    async def jobs(
        self, *, tenant: str | None = None, limit: int = 20, after: str | None = None
    ) -> AsyncGenerator[BatchStatus]:
        """Read the status of the tenant's jobs, newest first, `limit` of them at most.

        `after` is the id of the last one seen, to go on from there, which may be deleted meanwhile. Raises
        `JobNotFound` if nobody knows any more where that one was, and `StoreError`.

            async for status in client.jobs(limit=5):
                print(status.id, status.status, status.request_counts.total)
        """
        owner = tenant_of(self.settings, tenant)
        async for status in list_jobs(self._connections.storage, owner, limit=limit, after=after):
            yield status

    @while_open
    async def streams(
        self, *, tenant: str | None = None, limit: int = 20, after: str | None = None
    ) -> AsyncGenerator[StreamStatus]:
        """Read what has come of messages that raw producers sent without a job: `limit` streams at most.

        Those of the latest day come first. `after` is the id of the last one seen, to go on from there. Raises
        `JobNotFound` if there is no such stream, and `StoreError`.

            async for stream in client.streams(limit=5):
                print(stream.id, stream.request_counts.completed, stream.usage.output_tokens)
        """
        owner = tenant_of(self.settings, tenant)
        async with aclosing(list_streams(self._connections.storage, owner, limit=limit, after=after)) as streams:
            async for stream in streams:
                yield stream

    async def stream(self, id: str, *, tenant: str | None = None) -> StreamStatus:  # noqa: A002 - as above
        """Look at one stream. Its records are read by `client.job(id).results(follow=False)`.

        Returns how many of its requests have ended, and what they took. Raises `JobNotFound` if nothing is stored of
        it, and `JobError` for what cannot be a stream's id.
        """
        if not id.startswith(keys.STREAM):
            raise JobError(f"{id!r} is not a stream's id, which begins with {keys.STREAM}; see client.streams()")
        owner = tenant_of(self.settings, tenant)
        return await view_stream(self._connections.storage, owner, checked_name(id, "stream's id"))

    @while_open
    async def dead_letters(
        self, job: str | None = None, *, tenant: str | None = None, stale: bool = False, unaddressed: bool = False
    ) -> AsyncGenerator[DeadLetter]:
        """Read the tenant's dead letters, of all jobs or of one: by job, and within a job in the order of their keys.

        With `stale` also those whose requests have a response after all. With `unaddressed` instead those of messages
        that belong to no request, and so to no tenant. Memory holds a few at a time. Raises `JobError` for what cannot
        be an id, and `StoreError`.

            async for letter in client.dead_letters():
                print(letter.id, letter.code, letter.message)
        """
        store, chosen = self._dead_letter_store(tenant), None if job is None else checked_name(job, "job id")
        async with aclosing(store.letters(chosen, stale=stale, unaddressed=unaddressed)) as letters:
            async for letter in letters:
                yield letter

    async def dead_letter(self, id: str, *, tenant: str | None = None) -> DeadLetter:  # noqa: A002 - as above
        """Read one dead letter.

        Returns the letter with this id. Raises `LetterNotFound`, `JobError` for what cannot be an id, and `StoreError`.

            letter = await client.dead_letter(f"{job.id}/1")
            print(letter.attempts, letter.message)
        """
        return await self._dead_letter_store(tenant).one(id)

    async def redrive(
        self,
        *,
        job: str | None = None,
        id: str | None = None,  # noqa: A002 - as above
        all: bool = False,  # noqa: A002 - the word that the command line has
        tenant: str | None = None,
        deadline: Deadline | None = None,
    ) -> RedriveResult:
        """Send dead letters again: those of a job, one, or all of the tenant. Give exactly one of the three.

        The letters of a job go into a new job, its child, with the same custom_ids. Those of streams and of single
        requests keep their address, so that a handle finds the answer. `deadline` counts for all of them, 24 hours
        if not given. What was redriven is no dead letter any more; stale letters are passed over, and what cannot be
        sent again is kept. A redrive that was broken off is completed by the next one.

        Returns the new jobs, how many letters went back under their own address, and which were kept and why. Raises
        `LetterNotFound`, `JobError` for an option that cannot be, `JobConflict` if the same letters are being redriven
        elsewhere, `QueueError`, and what `submit` raises if a pool has vanished meanwhile.

            done = await client.redrive(job=job.id)
            for child in done.jobs:
                print(child.id, "runs", child.requests, "requests of", child.parent)
            for letter in done.kept:
                print(letter.id, letter.reason)
        """
        check_one({"job": job, "id": id, "all": all})
        redrive = Redrive(self._connections, tenant_of(self.settings, tenant), deadline=deadline)
        if id is not None:
            return await redrive.one(id)
        return await redrive.everything() if job is None else await redrive.job(checked_name(job, "job id"))

    async def purge_dead_letters(
        self,
        *,
        job: str | None = None,
        id: str | None = None,  # noqa: A002 - as above
        all: bool = False,  # noqa: A002 - as above
        unaddressed: bool = False,
        tenant: str | None = None,
    ) -> int:
        """Remove dead letters for good: those of a job, one, all of the tenant, or those that belong to no request.

        Give exactly one of the four. Returns how many were removed. Raises `LetterNotFound`, `JobError` and
        `StoreError`.

            print(await client.purge_dead_letters(job=job.id), "removed")
        """
        store, chosen = self._dead_letter_store(tenant), None if job is None else checked_name(job, "job id")
        return await store.purge(job=chosen, id=id, everything=all, unaddressed=unaddressed)

    async def retry_failed(
        self,
        job: str,
        *,
        input: Source | None = None,  # noqa: A002 - the word that users know it by
        priority: Priority | None = None,
        deadline: Deadline | None = None,
        tenant: str | None = None,
        on_progress: Callable[[SubmitProgress], object] | None = None,
    ) -> Job:
        """Make a new job of exactly the requests of an ended one that have no response: failed, or cut off.

        It is a child of that job, with the same custom_ids, and the dead letters of its requests are removed. `input`
        is what the job was made from; without it the bodies are taken from the input that was stored with the job, or
        else from its dead letters. A retry that was broken off is completed by the next one.

        Returns the new job. Raises `JobNotFound`; `JobConflict` if the job has not ended, or the input is another one;
        `InvalidInput` if the input is needed; `JobError` if nothing failed; `PoolNotFound` and `QueueError`.

            again = await client.retry_failed(job.id, priority="high")
            print((await again.wait()).request_counts)
        """
        options = RetryOptions(input, None if priority is None else chosen_lane(priority), deadline, on_progress)
        owner = tenant_of(self.settings, tenant)
        return await RetryFailed(self._connections, owner, checked_name(job, "job id"), options).run()

    def _dead_letter_store(self, tenant: str | None) -> DeadLetterStore:
        storage, owner = self._connections.storage, tenant_of(self.settings, tenant)
        return DeadLetterStore(storage, owner, max_body_bytes=self.settings.max_body_bytes)

    async def pools(self) -> list[PoolStatus]:
        """Look at every pool once.

        Returns them by name, each with the workers that are alive in it. Raises `StoreError`.

            for pool in await client.pools():
                print(pool.model, len(pool.workers), pool.adapters)
        """
        async with self._connections.bounded("the pools were not read"):
            return await self._connections.pools.read()

    async def default_model(self) -> str:
        """Find the model that `enqueue` takes where none is named: that of the setting `pool`, or the only one.

        Raises `PoolError` where there are several, `PoolNotFound` where there is none, and `StoreError`.

            print(await client.default_model())
        """
        async with self._connections.bounded("the pools were not read"):
            return await self._connections.pools.default_model(self.settings.pool)

    async def register_pool(self, model: str) -> PoolManifest:
        """Register the pool of a base model, by its exact served name; `backburner topics ensure` makes its topics.

        Registering it again changes nothing. Returns how it is registered. Raises `PoolConflict` if another model has
        that pool, or differs from this one in letter case alone.

            manifest = await client.register_pool("Qwen/Qwen3-8B")
            print(manifest.pool)
        """
        async with self._connections.bounded(f"the pool of {model} was not registered"):
            return await self._connections.pools.register(model)

    async def add_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """Have a pool's model answer to other names too, such as those that existing batch files hold.

        `pool` is the pool's name or its model's. Requests keep the name that they have; records tell both. Aliases that
        the pool has already are passed over. Workers know a new one at once, clients within seconds.

        Returns how the pool is registered then. Raises `PoolNotFound`, and `PoolConflict` for a name that another
        model, adapter or alias has, or that differs from one of another pool in letter case alone.

            await client.register_pool("Qwen/Qwen3-8B")
            manifest = await client.add_aliases("Qwen/Qwen3-8B", ["gpt-4o-mini"])
            print(manifest.aliases)
        """
        async with self._connections.bounded(f"the aliases of {pool} were not changed"):
            return await self._connections.pools.add_aliases(pool, aliases)

    async def remove_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """Take aliases away from a pool. What is on its queue under such a name fails, as soon as workers know.

        Returns how the pool is registered then. Raises `PoolNotFound`, and `PoolError` for a name that is no alias of
        it.

            await client.register_pool("Qwen/Qwen3-8B")
            await client.add_aliases("Qwen/Qwen3-8B", ["gpt-4o"])
            await client.remove_aliases("Qwen/Qwen3-8B", ["gpt-4o"])
        """
        async with self._connections.bounded(f"the aliases of {pool} were not changed"):
            return await self._connections.pools.remove_aliases(pool, aliases)

    async def remove_pool(self, pool: str) -> PoolManifest:
        """Remove a pool that nobody works for, by its name or its model's; a broken registration by the name alone.

        Clients that start from now on do not route to it. Those that have read the pools before go on sending to it for
        as long as they live, so restart them. Its topics or queues stay, and what is on them is not answered, for no
        worker of it can start, until it is registered again. A worker that is still loading has not announced itself
        and is not seen here: stop it first.

        Returns how it was registered; of a registration that cannot be read, `model` is empty and `created_at` is when
        it was written. Raises `PoolNotFound`, `PoolConflict` while a worker of it lives, or may live because its
        announcement cannot be read, and `StoreError`.

            await client.register_pool("an-old-model")
            await client.remove_pool("an-old-model")
        """
        async with self._connections.bounded(f"the pool {pool} was not removed"):
            return await self._connections.pools.remove(pool)
