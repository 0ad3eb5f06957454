"""What `backburner up` is asked for, and what it needs from its caller. No behaviour."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backburner.settings import QueueKind
from backburner_schemas.engine_kind import EngineKind

Say = Callable[[str], None]
"""Shows one line of progress to the user."""

EnsurePool = Callable[[Mapping[str, str], str], Awaitable[None]]
"""Creates topics and registers the pool, given the stack's settings as `BACKBURNER_…` names and the served model."""

EnsureApiKey = Callable[[Mapping[str, str], str | None], Awaitable[str]]
"""Gives an API key for the stack's user, given its settings and the key of the last `up`: that one where it holds."""

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done in queue and store, once they are up and before our own parts are started."""

    ensure_pool: EnsurePool
    ensure_api_key: EnsureApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of `backburner up`."""

    folder: Path = field(default_factory=Path.cwd)
    """The working folder: settings and state go into its `.backburner`."""
    engine: EngineKind = EngineKind.VLLM
    queue: QueueKind = QueueKind.KAFKA
    """What requests travel on: a Kafka broker, or an emulator of SQS, which forgets them at a kill -9."""
    model: str = AUTO
    """A model's folder, or `auto`; with the fake engine the name that it serves."""
    served_name: str | None = None
    """Name that requests call the model by; None for the folder's own, or `fake`."""
    workers: int = 1
    """0 is allowed: workers can be started by hand with the written settings."""
    data: Path | None = None
    """Where queue and store keep their state; None for `.backburner/data`."""
    engine_args: str | None = None
    """Arguments of vLLM instead of those for a fast start."""
    drain_seconds: float | None = None
    """Seconds that a worker may take to finish when the stack stops; None for BACKBURNER_DRAIN_SECONDS, or 15 s."""
    warm_seconds: float = 600.0
    """Seconds that a worker may take until it is warm."""
    gateway: bool = False
    """Start gateway and dispatcher too, and make an API key."""
    gateway_port: int | None = None
    """Where the gateway listens; None for the last `up`'s port, or a free one."""
    worker_argv: tuple[str, ...] = (sys.executable, "-m", "backburner_worker")
    """The program of a worker."""
    gateway_argv: tuple[str, ...] = (sys.executable, "-m", "backburner.gateway")
    """The program of the gateway."""
    dispatcher_argv: tuple[str, ...] = (sys.executable, "-m", "backburner.dispatcher")
    """The program of the dispatcher."""
    cli_argv: tuple[str, ...] = (sys.executable, "-m", "backburner")
    """The program that `up --detach` starts again without `--detach`."""

    @property
    def state_folder(self) -> Path:
        """The folder `.backburner` of the working folder."""
        return self.folder.absolute() / ".backburner"

    @property
    def data_folder(self) -> Path:
        """Where queue and store keep their state."""
        return self.data.expanduser().absolute() if self.data else self.state_folder / "data"
