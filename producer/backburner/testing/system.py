"""A fake of the whole system, in memory, for tests of programs that use Backburner: no broker, no store, no model."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from pydantic_core import from_json
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from backburner.blocking.client import SyncClient
from backburner.client import Client
from backburner.jobs.finalizer import finalize, freeze, view_job
from backburner.publishers.base import Message
from backburner.settings import Settings
from backburner.storage import Storage
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner.testing.answers import default_answer, response_of, usage_of
from backburner_schemas import codec, keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import BackburnerError, Cancelled, EngineError, Expired
from backburner_schemas.job import JobState
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.pool import PoolManifest, WorkerAnnouncement
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record, error_record, record_id
from backburner_schemas.routing import pool_name
from backburner_schemas.segment import Line, encode_segment
from backburner_schemas.status import Clock

Answer = Callable[[Envelope], str | Mapping[str, Any] | BackburnerError]
"""Answers a request with a text, a whole response body, or an error, returned or raised. The request comes with its
address: docs/schemas/envelope.json names its fields."""

_FOREVER_SECONDS = 1e12
"""Seconds: a grace of minus this is over for every job."""


class _OwnSettings(Settings):
    """Settings of arguments alone: what the shell is set to must change no test."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature, as are the others
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments."""
        return (init_settings,)


class FakeSystem:
    """Broker, store, pools and workers in one object. `client` talks to it from asyncio, `sync_client` from threads.

    Use it as a context manager: `async with` for `client`, plain `with` for `sync_client`. Requests are answered as
    soon as they are sent, always alike. They can be held back, so that cancelling and expiry can be tested, and chosen
    ones can be made to fail. It stores what a worker would store, dead letters among it.

        from backburner.testing import FakeSystem


        async def test_my_program() -> None:
            async with FakeSystem(lambda envelope: "Tokyo") as system:
                handle = await system.client.enqueue("What is the capital of Japan?")
                assert (await handle.result(timeout=5)).text == "Tokyo"
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        models: Sequence[str] = ("fake",),
        tenant: str = "default",
        workers: bool = True,
    ) -> None:
        """Without `answer` the text is made from the request, always alike. Without `workers` nothing is answered."""
        self.settings: Settings = _OwnSettings(
            store_url="memory:///", queue_url="kafka://fake:9092", tenant=tenant, freeze_grace_seconds=0.0
        )
        """What its clients are made with."""
        self.storage: Storage = Storage.open(self.settings)
        """The store, in memory."""
        self.client: Client = self.new_client()
        """A client, for asyncio."""
        self._answer = answer or default_answer
        self._models = tuple(models)
        self._workers = workers
        self._held = not workers
        self._waiting: deque[Message] = deque()
        self._failing: list[tuple[Callable[[Envelope], bool], BackburnerError]] = []
        self._sync_client: SyncClient | None = None
        self._writer = keys.new_ulid()
        self._sequence = 0
        self.published: int = 0
        """Messages that were put onto the queue, those that were sent twice among them."""

    def new_client(self) -> Client:
        """Returns another client of the same system, as another process would have."""
        return Client.from_parts(self.settings, self.storage, _FakePublisher(self))

    @property
    def sync_client(self) -> SyncClient:
        """The blocking client, inside a plain `with`; `RuntimeError` elsewhere."""
        if self._sync_client is None:
            raise RuntimeError("use the FakeSystem as `with FakeSystem() as system` for its sync_client")
        return self._sync_client

    async def __aenter__(self) -> Self:
        await self._register(self.client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    def __enter__(self) -> Self:
        self._sync_client = SyncClient.from_parts(self.settings, self.storage, _FakePublisher(self))
        self._sync_client.run(self._register)
        return self

    def __exit__(self, *_: object) -> None:
        self.sync_client.close()

    # --- what a test decides --------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests on the queue that were not answered yet."""
        return len(self._waiting)

    def hold(self) -> None:
        """Answer nothing from now on; what is sent waits on the queue."""
        self._held = True

    def fail(
        self, custom_ids: Iterable[str] | Callable[[Envelope], bool], error: BackburnerError | None = None
    ) -> None:
        """Let requests fail: those with these custom_ids, or those that the function says.

        The engine's own errors, such as the one that is taken without `error`, leave a dead letter beside the record.

            from backburner.testing import FakeSystem


            async def test_a_failure_is_retried() -> None:
                async with FakeSystem() as system:
                    system.fail(["a"])
                    body = {"model": "fake", "messages": []}
                    job = await system.client.submit([{"custom_id": "a", "url": "/v1/chat/completions", "body": body}])
                    system.mend()
                    again = await system.client.retry_failed(job.id)
                    assert (await again.wait(timeout=5)).request_counts.completed == 1
        """
        if callable(custom_ids):
            chosen = custom_ids
        else:
            names = frozenset([custom_ids] if isinstance(custom_ids, str) else custom_ids)

            def chosen(envelope: Envelope) -> bool:
                return envelope.custom_id in names

        self._failing.append((chosen, error or EngineError("the fake was told to fail this request")))

    def mend(self) -> None:
        """Let no request fail any more that `fail` has chosen, as a repair does before dead letters are redriven."""
        self._failing.clear()

    async def release(self, count: int | None = None) -> int:
        """Answer up to `count` waiting requests, oldest first; without a count all, and those still to come.

        Returns how many were answered. Requests of cancelled jobs and those past their deadline end with an error, as
        they do with a worker.
        """
        if count is None:
            self._held = False
        batch: list[Message] = []
        while self._waiting and (count is None or len(batch) < count):
            batch.append(self._waiting.popleft())
        await self._work(batch)
        return len(batch)

    async def expire(self, job: str, *, tenant: str | None = None) -> JobState | None:
        """Freeze a job as if its deadline and the grace had passed. Its waiting requests are dropped.

        Returns how it ended, now or before; None if there is no such job.
        """
        owner = tenant or self.settings.tenant
        self._waiting = deque(one for one in self._waiting if (one.envelope.tenant, one.envelope.job) != (owner, job))
        view = await view_job(self.storage, owner, job)
        if view is None:
            return None
        if view.summary is not None:
            return view.summary.state
        ending = await freeze(self.storage, view, Clock(now=self.storage.clock.now(), grace=-_FOREVER_SECONDS))
        return ending.summary.state if ending is not None else None

    # --- what a worker does ---------------------------------------------------------------------------------

    async def _accept(self, messages: Sequence[Message]) -> None:
        self.published += len(messages)
        # Through the wire's form, so that what cannot travel shows here as it would on a broker.
        copies = [Message(one.pool, one.lane, _travelled(one.envelope), one.facts) for one in messages]
        if self._held:
            self._waiting.extend(copies)
        else:
            await self._work(copies)

    async def _work(self, messages: Sequence[Message]) -> None:
        jobs = {(one.envelope.tenant, one.envelope.job) for one in messages}
        cancelled = {job for job in jobs if await self.storage.modified(keys.cancelled(*job)) is not None}
        parts: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        for message in messages:
            envelope = message.envelope
            job = envelope.tenant, envelope.job
            record = await self._outcome(message, cancelled=job in cancelled)
            if envelope.answer is AnswerMode.OBJECT:
                await self._store_answer(keys.answer(*job, envelope.custom_id), record)
                continue
            read, written = usage_of(record)
            code = record.error.code if record.error is not None else None
            parts[job].append(Line(envelope.index, encode_record(record), code, read, written))
        for (tenant, name), lines in parts.items():
            await self._store(tenant, name, lines)

    async def _outcome(self, message: Message, *, cancelled: bool) -> ResultRecord:
        envelope = message.envelope
        facts = ResultFacts(
            index=envelope.index, attempt=message.facts.attempt, pool=message.pool, worker="fake", version="fake"
        )
        try:
            if cancelled:
                raise Cancelled
            if envelope.deadline is not None and time.time() > envelope.deadline:
                raise Expired
            for chosen, error in self._failing:
                if chosen(envelope):
                    raise error
            asked, names = await self._resolved(await self._with_body(envelope), message.pool)
            found = self._answer(asked)
            if isinstance(found, BackburnerError):
                raise found
        except BackburnerError as error:
            if isinstance(error, EngineError):
                await self._keep_letter(message, error)
            return error_record(envelope.address, error, facts)
        return ResultRecord(
            id=record_id(envelope.address),
            custom_id=envelope.custom_id,
            response=ResponseBody(
                status_code=200, request_id=record_id(envelope.address), body=response_of(asked, found)
            ),
            backburner=facts.model_copy(update=names),
        )

    async def _keep_letter(self, message: Message, error: BackburnerError) -> None:
        """What a worker does once it has tried often enough: a failure of the engine leaves a dead letter."""
        envelope = message.envelope
        origin = codec.Origin(f"fake.{message.pool}.{message.lane}", f"0-{self.published}", time.time())
        letter = StoredDeadLetter.of(
            error, origin=origin, facts=message.facts, worker="fake", now=time.time(), envelope=envelope
        )
        key = keys.dead_letter(envelope.tenant, envelope.job, envelope.index)
        await self.storage.put(key, letter.model_dump_json(exclude_none=True).encode())

    async def _store_answer(self, key: str, record: ResultRecord) -> None:
        """A response takes an error's place; nothing else replaces anything."""
        while not await self.storage.create(key, encode_record(record)):
            there = await self.storage.get(key, max_bytes=MAX_RECORDS_BYTES)
            assert there is not None
            if not record.ok or ResultRecord.model_validate_json(there.data).ok:
                return
            await self.storage.delete([key])

    async def _with_body(self, envelope: Envelope) -> Envelope:
        if envelope.body_ref is None:
            return envelope
        stored = await self.storage.get(envelope.body_ref, max_bytes=MAX_RECORDS_BYTES)
        assert stored is not None
        return envelope.model_copy(update={"body": from_json(stored.data), "body_ref": None})

    async def _resolved(self, envelope: Envelope, pool: str) -> tuple[Envelope, dict[str, str]]:
        """The request to the model that serves it, and what the record tells of its names."""
        body = envelope.body or {}
        requested = body["model"]
        served = next((model for model in self._models if pool_name(model) == pool), requested)
        stored = await self.storage.get(keys.pool(pool)) if served != requested else None
        if stored is None or requested not in PoolManifest.model_validate_json(stored.data).aliases:
            return envelope, {"model": requested}
        asked = envelope.model_copy(update={"body": {**body, "model": served}})
        return asked, {"model": served, "requested_model": requested}

    async def _store(self, tenant: str, job: str, lines: Sequence[Line]) -> None:
        failed = sum(line.error_code is not None for line in lines)
        name = keys.SegmentName(
            writer=self._writer,
            sequence=self._sequence,
            ok=len(lines) - failed,
            failed=failed,
            prompt_tokens=sum(line.prompt_tokens for line in lines),
            completion_tokens=sum(line.completion_tokens for line in lines),
            engine_ms=0,
        )
        self._sequence += 1
        await self.storage.put(keys.segment(tenant, job, name), encode_segment(lines))
        await finalize(self.storage, tenant, job, grace=self.settings.freeze_grace_seconds)

    async def _register(self, client: Client) -> None:
        for model in self._models:
            await client.register_pool(model)
            if self._workers:
                pool = pool_name(model)
                now = time.time()
                worker = WorkerAnnouncement(
                    worker="fake",
                    pool=pool,
                    models=(model,),
                    group=pool,
                    version="fake",
                    started_at=now,
                    # Alive for ever: nobody renews it.
                    seen_at=now + _FOREVER_SECONDS,
                )
                await self.storage.put(keys.worker(pool, "fake"), worker.model_dump_json().encode())
        # So that the client sees the workers.
        await client.pools()


def _travelled(envelope: Envelope) -> Envelope:
    found = codec.decode(codec.encode(envelope), codec.Origin("fake", "0-0", time.time()), codec.Rules())
    assert isinstance(found, Envelope), found
    return found


class _FakePublisher:
    """Hands messages to the fake system. A `Publisher`."""

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    async def start(self) -> None:
        """Nothing to connect."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """The queue has them at once."""
        await self._system._accept(messages)  # noqa: SLF001 - the fake's own half

    async def close(self) -> None:
        """Nothing to disconnect."""
