"""Who a worker is: in records, metrics and logs, and to everybody who asks for the pool's workers."""

import socket
import time
from dataclasses import dataclass
from typing import Self

from backburner_schemas import keys
from backburner_schemas.pool import WorkerAnnouncement
from backburner_worker.engine.base import EngineInfo
from backburner_worker.outcome import Signature
from backburner_worker.settings.identity import IdentitySettings


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A worker with the engine that it has. `create` makes a new one at each start."""

    pool: str
    name: str
    """What others call it; the same after a restart where it is set."""
    group: str
    """The group of workers that it was started in."""
    release: str | None
    """The rollout that it is of."""
    writer: str
    """What its segments are named by: a new one at each start."""
    engine: EngineInfo
    started_at: float
    """Unix seconds."""

    @classmethod
    def create(cls, settings: IdentitySettings, engine: EngineInfo) -> Self:
        """The identity of a worker that starts now."""
        pool, writer = settings.pool_for(engine.models[0]), keys.new_ulid()
        return cls(
            pool=pool,
            name=settings.worker_id or f"{socket.gethostname()}-{writer[-8:]}",
            group=settings.worker_group or pool,
            release=settings.worker_release,
            writer=writer,
            engine=engine,
            started_at=time.time(),
        )

    @property
    def signature(self) -> Signature:
        """What goes into every record and every dead letter."""
        return Signature(
            pool=self.pool, worker=self.name, group=self.group, version=self.engine.version, release=self.release
        )

    def announcement(self, now: float) -> WorkerAnnouncement:
        """What is in the store while it lives, as of `now`, in Unix seconds by the store's clock."""
        return WorkerAnnouncement(
            worker=self.name,
            pool=self.pool,
            models=self.engine.models,
            adapters=self.engine.adapters,
            group=self.group,
            version=self.engine.version,
            release=self.release,
            started_at=self.started_at,
            seen_at=now,
        )
