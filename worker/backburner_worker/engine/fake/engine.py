"""The fake engine: answers in OpenAI's forms that depend on the request alone, without a model.

It is for trying Backburner out, for tests and for measuring everything but the model. It is not a model: its
words mean nothing, and its tokens are words split at white space.

Patterns in a prompt's text, wherever they stand, make it misbehave on purpose:

    [[fail]]       RequestRefused: the request's own fault
    [[retry]]      EngineError: may succeed later
    [[busy]]       EngineBusy
    [[abort]]      GenerationAborted
    [[die]]        the engine dies: EngineLost for this request, all in flight and every later one
    [[kill]]       SIGKILL for the whole worker, as a driver's fault or an out-of-memory kill does it
    [[slow:2.5]]   this request takes 2.5 seconds, whatever the engine's latency is
    [[hang]]       this request never ends by itself; the engine goes on with others
    [[stall]]      the engine hangs: nothing in it ends, and it makes no step, but it does not die
    [[echo]]       the answer is the prompt's own text
    [[tokens:120]] the answer has 120 tokens, unless the request's own limit is lower

An answer is a function of `digest_of(request)`, the 16-byte BLAKE2b of the endpoint, a new line and the body as JSON
with sorted keys, no white space and non-ASCII characters escaped. A chat answer's `id` is `chatcmpl-` and that digest
in hexadecimal digits, and its text begins with `fake-`, the digest's first 12 digits, `-` and the choice's index. So
whoever has a request and a response can check whether they belong together.

With a `Pace` an answer takes as long as it would on a real engine that is so fast and holds so much, beside all that
runs at the same time.

At a latency of 0 a `run` neither sleeps nor creates a task, so it costs a few microseconds and never yields.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from backburner_schemas.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
)
from backburner_schemas.prefix import BLOCK_CHARACTERS, prefix_chain
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineInfo, EngineLoad, EngineRequest, EngineResponse, Usage
from backburner_worker.engine.fake import answers
from backburner_worker.engine.fake.clock import FakeClock
from backburner_worker.engine.fake.journal import FakeJournal
from backburner_worker.engine.fake.model import Lookups, Pace, Sequence

FAKE_MODEL = "fake"
"""The model that the fake serves unless another is named; its pool has the same name."""

VERSION = "fake-1"
_STEPS_PER_SECOND = 100

_PATTERN = re.compile(r"\[\[(fail|retry|busy|abort|die|kill|hang|stall|echo|slow:(\d+(?:\.\d+)?)|tokens:(\d{1,6}))\]\]")


class FakeEngine:
    """An `Engine` without a model. See the module for the patterns that make it fail.

    Args:
        model: The base model that it serves.
        latency: Seconds that a request takes.
        max_sequences: What `EngineInfo` reports; nothing is limited by it.
        kv_tokens: The same.
        journal: A file for a `FakeJournal`; none if not set.
        pace: How fast it is, and how much it holds; instead of latency, `max_sequences` and `kv_tokens`.
        worker_pid: The process that `[[kill]]` kills; this one if not set.
        adapters: Names of adapters that it serves beside the model; every other name is `ModelNotFound`.
        failure_ratio: Share of the requests at which it raises `EngineError`, spread evenly.
        load_seconds: How long it loads before it can answer.
    """

    def __init__(
        self,
        model: str = FAKE_MODEL,
        latency: float = 0.0,
        *,
        max_sequences: int = 256,
        kv_tokens: int = 1 << 22,
        journal: str | Path | None = None,
        pace: Pace | None = None,
        worker_pid: int | None = None,
        adapters: Iterable[str] = (),
        failure_ratio: float = 0.0,
        load_seconds: float = 0.0,
    ) -> None:
        if latency < 0 or not math.isfinite(latency):
            raise ValueError("latency is in seconds and not negative")
        self._model = model
        self._adapters = tuple(adapters)
        self._names = frozenset((model, *adapters))
        self._latency = latency
        self._load_seconds = load_seconds
        self._clock = FakeClock(pace) if pace else None
        self._max_sequences = pace.sequences if pace else max_sequences
        self._kv_tokens = pace.kv if pace else kv_tokens
        self._journal_path = journal
        self._journal: FakeJournal | None = None
        self._worker_pid = worker_pid
        self._failure_ratio = failure_ratio
        self._failures_due = 0.0
        self._stalled: int | None = None
        """What `progress` said last, since it hangs."""
        self._lost = False
        self._closed = False
        self._running: set[asyncio.Future[None]] = set()

    @property
    def lost(self) -> bool:
        """Whether the engine has died."""
        return self._lost

    async def start(self) -> EngineInfo:
        """Load for as long as it was told, and return what is served. Raises `EngineError` for a bad journal."""
        if self._load_seconds > 0:
            await asyncio.sleep(self._load_seconds)
        if self._journal_path is not None:
            try:
                self._journal = FakeJournal(self._journal_path)
            except OSError as error:
                raise EngineError(f"the journal cannot be opened ({error}); set BACKBURNER_FAKE_JOURNAL") from error
        return EngineInfo(
            models=(self._model,),
            endpoints=frozenset(Endpoint),
            version=VERSION,
            kv_tokens=self._kv_tokens,
            max_sequences=self._max_sequences,
            adapters=self._adapters,
        )

    async def run(self, request: EngineRequest) -> EngineResponse:
        """Answer, or fail as the prompt's pattern asks."""
        self._check_alive()
        model = request.body.get("model")
        if model not in self._names:
            served = ", ".join(sorted(self._names))
            raise ModelNotFound(f"the model {model!r} is not served here; use {served}", param="model")
        raw = _canonical(request)
        digest = _digest(request, raw)
        if self._journal is not None:
            self._journal.begun(request.id, digest)
        # Most bodies hold no pattern, and `in` costs a tenth of a search of the prompt.
        found = _PATTERN.search(answers.prompt_text(request)) if "[[" in raw else None
        seconds = self._latency
        if found is not None:
            seconds = self._misbehave(found, seconds)
        if self._stalled is not None:
            seconds = math.inf
        if seconds > 0:
            await self._wait(seconds)
        if self._failure_ratio:
            self._fail_some()
        echo, tokens = (found[1] == "echo", int(found[3] or 0)) if found is not None else (False, 0)
        try:
            response = answers.answer(request, digest, echo=echo, tokens=tokens)
        except (TypeError, ValueError) as error:
            raise RequestRefused(f"a field has a wrong type or value: {error}") from error
        if self._clock is not None:
            await self._decode(self._clock, sequence_of(request, response.usage))
        return response

    def load(self) -> EngineLoad | None:
        """How full it is; None without a pace."""
        return self._clock.load() if self._clock is not None else None

    @property
    def lookups(self) -> Lookups:
        """What the prefix cache was asked for so far, and had; nothing without a pace."""
        return self._clock.lookups if self._clock is not None else Lookups()

    async def close(self, drain: float) -> None:
        """Let what runs finish within `drain` seconds; the rest raises `GenerationAborted`."""
        self._closed = True
        if self._running and drain > 0:
            await asyncio.wait(self._running, timeout=drain)
        self._fail_running(GenerationAborted("the engine was closed before the answer was whole"))
        if self._journal is not None:
            self._journal.close()

    def die(self) -> None:
        """Die as a real engine does: all that runs, and all that comes, raises `EngineLost`."""
        self._lost = True
        self._fail_running(EngineLost())

    def progress(self) -> int:
        """A number that grows with time, as steps of a real engine do, unless it hangs."""
        return self._steps() if self._stalled is None else self._stalled

    def stall(self) -> None:
        """Hang as a real engine does: nothing in it ends any more, and nothing says so."""
        if self._stalled is None:
            self._stalled = self._steps()
            if self._clock is not None:
                self._clock.stop()

    @staticmethod
    def _steps() -> int:
        return int(time.monotonic() * _STEPS_PER_SECOND)

    def _misbehave(self, found: re.Match[str], seconds: float) -> float:
        match found[1]:
            case "fail":
                raise RequestRefused("the prompt holds [[fail]]", param="prompt")
            case "retry":
                raise EngineError("the prompt holds [[retry]]")
            case "busy":
                raise EngineBusy("the prompt holds [[busy]]")
            case "abort":
                raise GenerationAborted("the prompt holds [[abort]]")
            case "die":
                self.die()
                raise EngineLost("the prompt holds [[die]]")
            case "kill":
                os.kill(self._worker_pid or os.getpid(), signal.SIGKILL)
                # Its engine goes with it.
                self.die()
                raise EngineLost("the prompt holds [[kill]]")
            case "hang":
                return math.inf
            case "stall":
                self.stall()
                return math.inf
            case "echo":
                return seconds
            case _:
                return float(found[2]) if found[2] else seconds

    def _fail_some(self) -> None:
        self._failures_due += self._failure_ratio
        if self._failures_due >= 1:
            self._failures_due -= 1
            raise EngineError("the fake engine fails at a share of its requests; see BACKBURNER_FAKE_FAILURE_RATIO")

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        timer = loop.call_later(seconds, self._finish, done) if seconds < math.inf else None
        self._running.add(done)
        try:
            await done
        finally:
            self._running.discard(done)
            if timer is not None:
                timer.cancel()

    async def _decode(self, clock: FakeClock, sequence: Sequence) -> None:
        done = asyncio.get_running_loop().create_future()
        self._running.add(done)
        clock.add(sequence, done)
        try:
            await done
        finally:
            self._running.discard(done)
            clock.drop(sequence)

    def _finish(self, future: "asyncio.Future[None]") -> None:
        if not future.done() and self._stalled is None:
            future.set_result(None)

    def _fail_running(self, error: EngineError) -> None:
        for future in self._running:
            if not future.done():
                # One exception object for each: raising a shared one would tangle their tracebacks.
                future.set_exception(type(error)(error.message))

    def _check_alive(self) -> None:
        if self._lost:
            raise EngineLost
        if self._closed:
            raise EngineError("the engine is closed")


def sequence_of(request: EngineRequest, usage: Usage) -> Sequence:
    """What the request is to the modelled engine."""
    salt = hash((request.cache_salt, request.body.get("model")))
    prompt = max(1, usage.prompt_tokens)
    # At least a token of every prompt is its own.
    chain = prefix_chain(request.body)[: prompt - 1]
    block = 0
    if chain:
        characters = len(answers.prompt_text(request))
        block = min(prompt * BLOCK_CHARACTERS // max(1, characters), (prompt - 1) // len(chain))
    prefix = tuple(found ^ salt for found in chain) if block else ()
    return Sequence(prompt, max(1, usage.completion_tokens), prefix, block)


def digest_of(request: EngineRequest) -> str:
    """What the answer to a request is made from: 32 hexadecimal digits, see the module."""
    return _digest(request, _canonical(request))


def _canonical(request: EngineRequest) -> str:
    return json.dumps(request.body, sort_keys=True, separators=(",", ":"))


def _digest(request: EngineRequest, canonical: str) -> str:
    return hashlib.blake2b(f"{request.endpoint}\n{canonical}".encode(), digest_size=16).hexdigest()
