"""Which engine a worker gets, and with what: all that `create_engine` needs to know. Starts nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from backburner_schemas.engine_kind import EngineKind
from backburner_worker.engine.adapters import Adapter
from backburner_worker.engine.fake.model import Pace
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """How the fake engine behaves; no other engine reads it."""

    latency_seconds: float = 0.0
    """For an answer."""
    pace: Pace | None = None
    """Instead of the latency: as fast as a real engine that is so fast and holds so much."""
    process: bool = False
    """Whether it runs in a process of its own, which can be killed."""
    journal: str | None = None
    """A file to which it adds a line for each request that it begins."""
    failure_ratio: float = 0.0
    """Share of the requests at which it fails."""
    load_seconds: float = 0.0
    """For loading, before it can answer."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """An engine with its model. The defaults are those of the settings, except that the model has none."""

    kind: EngineKind = EngineKind.VLLM
    model: str = ""
    """A folder or a name that vLLM can load; the fake serves it by this name, `fake` if it is empty; the name that
    servers elsewhere have for it, the only one that they have if it is empty."""
    served_name: str | None = None
    """The name that requests use; a folder's own name if none is given."""
    engine_args: str | Sequence[str] = ""
    """vLLM's own arguments, as one line for a shell or as a list."""
    adapters: Sequence[Adapter] = ()
    """LoRA adapters on the model; the fake takes their names alone."""
    media_domains: frozenset[str] = frozenset()
    """Where vLLM may fetch media from, as in `BodyLimits`."""
    cache_dir: str = ""
    """Where vLLM keeps compiled code from start to start; its own places if empty."""
    fake: FakeOptions = field(default_factory=FakeOptions)
    concurrency: int = 0
    """Requests at once, as the operator sets them; 0 for as many as the engine can take. Servers elsewhere read it."""
    openai_http: OpenAiHttpOptions = field(default_factory=OpenAiHttpOptions)
