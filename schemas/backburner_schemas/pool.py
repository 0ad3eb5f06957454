"""A pool's registration and the announcements of its workers, as they lie in the object store."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field

from backburner_schemas.names import is_model_name

MAX_ALIASES = 256
"""Aliases of one pool at most: every client and every worker reads them."""


def _checked(name: str) -> str:
    if not is_model_name(name):
        raise ValueError("it cannot be a model's name")
    return name


class PoolManifest(BaseModel):
    """A pool exists once this is written. It holds the exact served name, which clients route by."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    """Version of this form."""
    pool: str
    """The pool's name, as topics and queues carry it."""
    model: str
    """Exact served name of the resident base model."""
    aliases: Annotated[
        tuple[Annotated[str, AfterValidator(_checked)], ...], Field(max_length=MAX_ALIASES), FailFast()
    ] = ()
    """Other names that requests may call the base model by, in order."""
    created_at: float
    """Unix seconds of its registration."""


class WorkerAnnouncement(BaseModel):
    """What a warm worker says of itself, renewed while it lives."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    """Version of this form."""
    worker: str
    """The worker's name."""
    pool: str
    """The pool that it works for."""
    models: Annotated[tuple[str, ...], FailFast()]
    """Served names of its base model."""
    adapters: Annotated[tuple[str, ...], FailFast()] = ()
    """Names of the LoRA adapters that it serves."""
    group: str
    """Name of the group of workers that it was started in; the pool's name where none was given."""
    version: str
    """Engine and version."""
    release: str | None = None
    """Rollout that it is of; null where it was told none."""
    started_at: float
    """Unix seconds of its start."""
    seen_at: float
    """Unix seconds of the latest renewal."""
    left: bool = False
    """Whether it has stopped; written where it had adapters, which come back with the next worker."""
