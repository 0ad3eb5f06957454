"""The engine port: what runs one inference request on a model that stays warm. No queue, no store here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from backburner_schemas.request import Endpoint


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a started engine offers."""

    models: tuple[str, ...]
    """Served names of the base model; the pool's name is made from the first."""
    endpoints: frozenset[Endpoint]
    version: str
    """The engine's name and version, such as `vllm-0.32.0`; it goes into every result record."""
    kv_tokens: int
    """Tokens that the KV cache holds; 0 where only servers elsewhere know."""
    max_sequences: int
    """Sequences that the engine runs at once; of one that `LimitsItself`, those that it begins with."""
    adapters: tuple[str, ...] = ()
    """Served names of LoRA adapters on the base model."""


@dataclass(slots=True)  # not frozen: creating it would cost four times as much
class EngineRequest:
    """One request, its body already checked against the whitelist."""

    id: str
    """Unique among the requests in flight; goes into the engine's own logs."""
    endpoint: Endpoint
    body: Mapping[str, Any]
    cache_salt: str = ""
    """Requests with another salt share no prefix cache; empty shares with everyone."""
    deadline: float | None = None
    """Seconds by the event loop's clock after which an engine that lets requests wait does not begin it any more; None
    for never."""


@dataclass(slots=True)
class Usage:
    """Tokens that a request took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class EngineResponse:
    """An answer in OpenAI's response form. Failures are raised, never returned."""

    body: Mapping[str, Any]
    usage: Usage = field(default_factory=Usage)
    status_code: int = 200


class Engine(Protocol):
    """A warm model behind four methods.

    Order: `start` once, then any number of concurrent `run`, then `close` once, also after a failed start.

    Errors of `run`: a `RequestRefused` for what is the request's own fault (never worth a retry), an
    `EngineError` for what may succeed elsewhere or later, `EngineLost` when the engine has died. After the
    first `EngineLost` every call raises it at once and `lost` is true for good. An engine of servers elsewhere does
    not die with them: it is away, see `MayBeAway`. One that hangs says nothing: see `ReportsProgress`.

    Cancelling `run` aborts that one generation, frees its place, and always surfaces as `CancelledError`.
    """

    @property
    def lost(self) -> bool:
        """Whether the engine has died. A dead engine never comes back; the process has to end."""
        ...

    async def start(self) -> EngineInfo:
        """Load the model and run a real generation through it. Returns what it offers. Raises `EngineError`."""
        ...

    async def run(self, request: EngineRequest) -> EngineResponse:
        """Answer one request. See the class for errors and cancellation."""
        ...

    async def close(self, drain: float) -> None:
        """Stop within about `drain` seconds and leave no child process behind, whatever state it is in."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How full an engine is. The totals count from its start, so that nothing is missed between two reads."""

    running: int = 0
    """Sequences in the running batch, at the last step."""
    waiting: int = 0
    """Sequences that wait inside the engine, at the last step."""
    kv_used: float = 0.0
    """Share of the KV cache that running sequences hold, 0 to 1, at the last step."""
    least_waiting: int = 0
    """Fewest that waited at any step since the read before this one: what of the queue was never needed."""
    steps: int = 0
    """Steps so far."""
    vacant: int = 0
    """Places of the batch that stood empty so far for lack of requests, summed over the steps."""
    generated: int = 0
    """Tokens of answers so far, each counted once."""
    preempted: int = 0
    """Times so far that a running sequence was preempted for lack of KV cache, to be computed again."""


@runtime_checkable
class ReportsLoad(Protocol):
    """An engine that reports how full it is."""

    def load(self) -> EngineLoad | None:
        """How full it is; None before its first step. Costs next to nothing. For one reader alone."""
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """An engine that shows whether it does anything, so that one that hangs can be told from one that is slow.

    With requests inside and no progress for `BACKBURNER_ENGINE_STALL_SECONDS` the worker takes it for lost.
    """

    def progress(self) -> int | None:
        """A number that changes with every step; None where it cannot be told. Costs next to nothing."""
        ...


@runtime_checkable
class LimitsItself(Protocol):
    """An engine that finds out by itself how many requests it takes, since they run elsewhere."""

    def capacity(self) -> int:
        """Requests that it takes at once, as of now; 0 while it takes none. More would only wait inside it."""
        ...


@runtime_checkable
class MayBeAway(Protocol):
    """An engine whose servers are elsewhere, and may be away. Then requests wait, and it goes on by itself."""

    def unavailable_reason(self) -> str | None:
        """Why it cannot answer, in one line; None while it can. As in `backburner.availability`."""
        ...

    def servers(self) -> tuple[int, int]:
        """How many of its servers answer, and how many do not."""
        ...
