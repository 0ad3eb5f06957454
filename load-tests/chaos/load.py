"""Continuous load: jobs and single requests by the SDK, plain lines by a producer without it. Keeps the book.

Its clients get errors while a server is away, and do what users do: a submit goes on with its job id, a single request
is sent again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
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
from chaos.patience import NeverCame

_PAUSE_SECONDS = 0.3
_TRICKLE_SECONDS = 0.25
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


class Load:
    """Creates requests, sends them, and notes what was accepted."""

    def __init__(
        self, client: Client, raw: RawProducer, book: Book, *, models: Sequence[str], seed: int, real: bool
    ) -> None:
        """`models` are the base model and others that its pool serves."""
        self._client = client
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
        half = len(whole) * 3 // 4
        for part in filter(None, (whole[:half], whole[half:])):
            self._jobs += 1
            name = f"chaos-{self._jobs}"
            batch.tasks.append(asyncio.create_task(self._submit(name, part, self._lane(), batch)))
        batch.tasks.append(asyncio.create_task(self._several(singles, lambda: self._single(batch))))
        batch.tasks.append(asyncio.create_task(self._several(raw, self._line)))
        return batch

    async def whole_job(self, name: str, asked: list[Asked], *, seconds: float) -> None:
        """Submit one job of that name; returns when it is frozen. Raises `NeverCame`."""
        batch = Batch()
        await self._submit(name, asked, Lane.NORMAL, batch)
        await self.done(batch, seconds)

    async def trickle(self) -> None:
        """One request every quarter of a second, until cancelled."""
        batch = self._trickled
        while True:
            await (self._single(batch) if self._dice.random() < 0.5 else self._line())  # noqa: PLR2004 - a coin
            await asyncio.sleep(_TRICKLE_SECONDS)

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
                except StoreError as error:
                    self._note(error)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _several(self, count: int, send: Callable[[], Awaitable[None]]) -> None:
        for _ in range(count):
            await send()

    async def _submit(self, name: str, asked: list[Asked], lane: Lane, batch: Batch) -> None:
        self._book.jobs[name] = asked
        deadline = time.monotonic() + _SUBMIT_SECONDS
        while True:
            try:
                await self._client.submit([one.line for one in asked], job_id=name, priority=lane)
                break
            except (QueueError, StoreError, JobConflict) as error:
                self._note(error)
                if time.monotonic() > deadline:
                    raise NeverCame(f"{name} was not accepted in {_SUBMIT_SECONDS:.0f} s: {error.message}") from error
                await asyncio.sleep(_PAUSE_SECONDS)
        for index, one in enumerate(asked):
            one.accepted, one.job, one.index = True, name, index
        batch.jobs.append(name)

    async def _single(self, batch: Batch) -> None:
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
