"""A pool's registration and the announcements of its workers, as they lie in the object store."""

from pydantic import BaseModel, ConfigDict


class PoolManifest(BaseModel):
    """A pool exists once this is written. It holds the exact served name, which clients route by."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    pool: str
    model: str
    """Exact served name of the resident base model."""
    created_at: float


class WorkerAnnouncement(BaseModel):
    """What a warm worker says of itself, renewed while it lives."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    worker: str
    pool: str
    models: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    group: str
    """Name of the group of workers that it was started in; the pool's name where none was given."""
    version: str
    """Engine and version."""
    started_at: float
    seen_at: float
    """Unix seconds of the latest renewal."""
    left: bool = False
    """Whether it has stopped; written where it had adapters, which come back with the next worker."""
