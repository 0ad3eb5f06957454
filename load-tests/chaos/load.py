"""Continuous load: jobs and single requests by the SDK and by the gateway, plain lines without either. Keeps the book.

Its clients get errors while a server is away, and do what users do: a submit goes on with its job id, a call of the
gateway with its key, a single request is sent again.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from backburner import Client
from backburner_schemas.errors import (
    BackburnerError,
    JobConflict,
    QueueError,
    RequestFailed,
    ResultTimeout,
    StoreError,
)
from backburner_schemas.names import Lane
from chaos.book import Asked, Book, Expect
from chaos.gateway_client import GatewayClient
from chaos.patience import NeverCame

_PAUSE_SECONDS = 0.3
_TRICKLE_SECONDS = 0.25
_COIN_SHARE = 0.5
_SINGLE_SHARE = 0.1
_RAW_SHARE = 0.1
_REFUSED_SHARE = 0.01
_SLOW_SHARE = 0.1
_ADAPTED_SHARE = 0.2
_ALIKE_SHARE = 0.3
_REPEATED_SHARE = 0.1
_QUESTION_COUNT = 10
_PREFIXES = tuple(f"These are the rules of house {one}. " + "Answer in a word, and be kind. " * 40 for one in range(8))
_SUBMIT_SECONDS = 120.0
_KEY_BYTES = 8
_LANES = (Lane.HIGH, Lane.NORMAL, Lane.NORMAL, Lane.LOW)


class RawProducer(Protocol):
    """Puts a plain batch line onto the queue, without the SDK."""

    async def send(self, asked: Asked, lane: Lane) -> None:
        """Returns when the queue has it, and notes its place if known. Raises `OSError` if it may not have it."""
        ...


@dataclass(slots=True)
class Batch:
    """What is in the system at one fault."""

    jobs: list[str] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    handles: list[tuple[str, str]] = field(default_factory=list)
    """Job and custom_id of accepted single requests."""
    batches: list[str] = field(default_factory=list)
    """Ids of the gateway's batches."""
    requests: list[str] = field(default_factory=list)
    """Ids of the gateway's single requests."""


class Load:
    """Creates requests, sends them, and notes what was accepted."""

    def __init__(
        self,
        client: Client,
        gateway: GatewayClient | None,
        raw: RawProducer,
        book: Book,
        *,
        models: Sequence[str],
        seed: int,
        real: bool,
    ) -> None:
        """`models` are the base model and others that its pool serves.

        Without a gateway, and the dispatcher behind it, all goes straight onto the queue.
        """
        self._client = client
        self._gateway = gateway
        self._raw = raw
        self._book = book
        self._models = models
        self._real = real
        self._dice = random.Random(seed)
        self._count = self._jobs = 0
        self._trickled = Batch()
        self.errors: list[str] = []
        """Errors that clients got while servers were away."""

    # --- what is asked ------------------------------------------------------------------------------------------

    def ask(self, text: str | None = None, expect: Expect = Expect.ANSWER) -> Asked:
        """A new request. Without a text, most are plain, some slow, and few are refused by the engine.

        Some go to an adapter, some begin alike, and some were asked before and may get the stored answer.
        """
        self._count += 1
        dice = self._dice
        if text is not None or self._real:
            content = f"{text or 'Say a word.'} number {self._count}"
            body = self._body(self._models[0], content)
            return self._asked(body | {"max_tokens": 8, "temperature": 0} if self._real else body, expect)
        model = self._models[-1] if dice.random() < _ADAPTED_SHARE else self._models[0]
        if dice.random() < _REPEATED_SHARE:
            body = self._body(model, f"Say word {dice.randrange(_QUESTION_COUNT)} again.")
            return self._asked(body | {"temperature": 0}, expect)
        text = "Say a word."
        fate = dice.random()
        if fate < _REFUSED_SHARE:
            text, expect = "[[fail]]", Expect.REFUSED
        elif fate < _REFUSED_SHARE + _SLOW_SHARE:
            text = f"[[slow:{dice.uniform(0.2, 1.5):.2f}]]"
        prefix = dice.choice(_PREFIXES) if dice.random() < _ALIKE_SHARE else ""
        return self._asked(self._body(model, f"{prefix}{text} number {self._count}"), expect)

    def _body(self, model: str, content: str) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": content}]}

    def _asked(self, body: dict[str, Any], expect: Expect) -> Asked:
        return Asked(f"c{self._count}", "/v1/chat/completions", body, expect)

    # --- how it is sent -----------------------------------------------------------------------------------------

    def begin(self, requests: int, extra: list[Asked] | None = None) -> Batch:
        """Send about so many, by every way at once, and these in the job; returns at once."""
        batch = Batch()
        singles, raw = max(1, int(requests * _SINGLE_SHARE)), max(1, int(requests * _RAW_SHARE))
        whole = [*(self.ask() for _ in range(requests - singles - raw)), *(extra or ())]
        self._dice.shuffle(whole)
        if self._gateway is None:
            half = len(whole) * 3 // 4
            straight, stored, batched = [whole[:half], whole[half:]], list[Asked](), list[Asked]()
        else:
            half, most = len(whole) // 2, len(whole) * 3 // 4
            straight, stored, batched = [whole[:half]], whole[half:most], whole[most:]
        for part in filter(None, straight):
            self._start(batch, self._submit(self._new_name(), part, self._lane(), batch))
        if stored:
            self._start(batch, self._submit(self._new_name(), stored, self._lane(), batch, stored=True))
        if batched:
            self._start(batch, self._create_batch(batched, self._lane(), batch))
        self._start(batch, self._several(singles, lambda: self._single(batch)))
        self._start(batch, self._several(raw, self._line))
        return batch

    def begin_at_gateway(self, requests: int) -> Batch:
        """Send about so many through the gateway alone, a tenth of them one by one; returns at once."""
        batch = Batch()
        singles = max(1, int(requests * _SINGLE_SHARE))
        self._start(batch, self._create_batch([self.ask() for _ in range(requests - singles)], self._lane(), batch))
        self._start(batch, self._several(singles, lambda: self._create_request(batch)))
        return batch

    def _start(self, batch: Batch, sending: Coroutine[Any, Any, None]) -> None:
        batch.tasks.append(asyncio.create_task(sending))

    def _new_name(self) -> str:
        self._jobs += 1
        return f"chaos-{self._jobs}"

    async def whole_job(self, name: str, asked: list[Asked], *, seconds: float) -> None:
        """Submit one job of that name; returns when it is frozen. Raises `NeverCame`."""
        await self.done(await self.submitted_job(name, asked), seconds)

    async def submitted_job(self, name: str, asked: list[Asked]) -> Batch:
        """Submit one job of that name; what to wait for. Raises `NeverCame`."""
        batch = Batch()
        await self._submit(name, asked, Lane.NORMAL, batch)
        return batch

    @asynccontextmanager
    async def trickle(self) -> AsyncIterator[None]:
        """One request every quarter of a second within the block, which ends when the last one is accepted.

        It is not cancelled before: of a call that is cut off nobody learns what it was given. Raises `NeverCame`.
        """
        over = asyncio.Event()
        task = asyncio.create_task(self._trickle(over))
        try:
            yield
        finally:
            over.set()
            try:
                await asyncio.wait_for(task, _SUBMIT_SECONDS)
            except TimeoutError as error:
                raise NeverCame(f"the last trickled request was not accepted in {_SUBMIT_SECONDS:.0f} s") from error

    async def _trickle(self, over: asyncio.Event) -> None:
        batch = self._trickled
        while not over.is_set():
            await (self._single(batch) if self._dice.random() < _COIN_SHARE else self._line())
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _TRICKLE_SECONDS)

    async def accepted(self, batch: Batch) -> None:
        """Returns when the queue has the whole batch."""
        await asyncio.gather(*batch.tasks)

    async def finish(self, seconds: float) -> None:
        """Returns when what trickled is answered too. Raises `NeverCame`."""
        await self.done(self._trickled, seconds)

    async def done(self, batch: Batch, seconds: float) -> None:
        """Returns when every job of the batch is frozen and every single request answered. Raises `NeverCame`."""
        deadline = time.monotonic() + seconds
        waits: list[Callable[..., Awaitable[object]]] = [
            *(self._client.job(name).wait for name in batch.jobs),
            *(self._client.handle(f"{job}/{custom_id}").result for job, custom_id in batch.handles),
            *(partial(self._batch_ended, one) for one in batch.batches),
            *(partial(self._request_ended, one) for one in batch.requests),
        ]
        for wait in waits:
            while True:
                try:
                    await wait(timeout=max(deadline - time.monotonic(), 0.1))
                    break
                except RequestFailed:
                    break  # An error record is an end too; the checker knows which ones had to be.
                except ResultTimeout as error:
                    raise NeverCame(f"within {seconds:.0f} s never: {error.message}") from error
                except (StoreError, OSError) as error:
                    self._note(error)
                    if time.monotonic() > deadline:
                        raise NeverCame(f"within {seconds:.0f} s never: an answer without an error: {error}") from error
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _batch_ended(self, batch: str, timeout: float) -> None:
        assert self._gateway is not None
        deadline = time.monotonic() + timeout
        while (told := await self._gateway.batch(batch)) is None:
            if time.monotonic() > deadline:
                raise NeverCame(f"within {timeout:.0f} s never: the end of {batch}")
            await asyncio.sleep(_PAUSE_SECONDS)
        self._book.told[batch] = told

    async def _request_ended(self, request: str, timeout: float) -> None:
        assert self._gateway is not None
        deadline = time.monotonic() + timeout
        while not await self._gateway.answered(request):
            if time.monotonic() > deadline:
                raise NeverCame(f"within {timeout:.0f} s never: an answer to {request}")

    async def _several(self, count: int, send: Callable[[], Awaitable[None]]) -> None:
        for _ in range(count):
            await send()

    async def _submit(self, name: str, asked: list[Asked], lane: Lane, batch: Batch, *, stored: bool = False) -> None:
        self._book.jobs[name] = asked
        deadline = time.monotonic() + _SUBMIT_SECONDS
        while True:
            try:
                await self._client.submit([one.line for one in asked], job_id=name, priority=lane, stored=stored)
                break
            except (QueueError, StoreError, JobConflict) as error:
                self._note(error)
                if time.monotonic() > deadline:
                    raise NeverCame(f"{name} was not accepted in {_SUBMIT_SECONDS:.0f} s: {error.message}") from error
                await asyncio.sleep(_PAUSE_SECONDS)
        self._accepted(name, asked)
        batch.jobs.append(name)

    def _accepted(self, job: str, asked: list[Asked]) -> None:
        for index, one in enumerate(asked):
            one.accepted, one.job, one.index = True, job, index

    async def _create_batch(self, asked: list[Asked], lane: Lane, batch: Batch) -> None:
        assert self._gateway is not None
        key = secrets.token_hex(_KEY_BYTES)
        lines, url = [one.line for one in asked], asked[0].url
        made = await self._over(lambda gateway: gateway.create_batch(lines, url, lane, key))
        self._book.jobs[made] = asked
        self._accepted(made, asked)
        batch.batches.append(made)

    async def _over(self, call: Callable[[GatewayClient], Awaitable[str]]) -> str:
        """What the gateway answers to the call, made again until it does. Raises `NeverCame`."""
        assert self._gateway is not None
        deadline = time.monotonic() + _SUBMIT_SECONDS
        while True:
            try:
                return await call(self._gateway)
            except OSError as error:
                self._note(error)
                if time.monotonic() > deadline:
                    raise NeverCame(f"the gateway did not take it in {_SUBMIT_SECONDS:.0f} s: {error}") from error
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _create_request(self, batch: Batch) -> None:
        asked, lane, key = self.ask(), self._lane(), secrets.token_hex(_KEY_BYTES)
        made = await self._over(lambda gateway: gateway.create_request(asked.url, asked.body, lane, key))
        # Its id is its job and its name.
        asked.custom_id, asked.accepted, asked.job, asked.index = made, True, made, 0
        self._book.singles.append(asked)
        batch.requests.append(made)

    async def _single(self, batch: Batch) -> None:
        if self._gateway is not None and self._dice.random() < _COIN_SHARE:
            await self._create_request(batch)
            return
        while True:
            asked = self.ask()
            self._book.singles.append(asked)
            try:
                handle = await self._client.enqueue(body=asked.body, custom_id=asked.custom_id, priority=self._lane())
            except (QueueError, StoreError) as error:
                self._note(error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            asked.accepted, asked.job, asked.index = True, handle.id.partition("/")[0], 0
            batch.handles.append((asked.job, asked.custom_id))
            return

    async def _line(self) -> None:
        while True:
            asked = self.ask()
            self._book.raw.append(asked)
            try:
                await self._raw.send(asked, self._lane())
            except OSError as error:
                self._note(error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            asked.accepted = True
            return

    def _lane(self) -> Lane:
        return self._dice.choice(_LANES)

    def _note(self, error: BackburnerError | OSError) -> None:
        self.errors.append(f"{type(error).__name__}: {error}")
