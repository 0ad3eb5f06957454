"""The models that pools serve, as OpenAI's API lists them: base models, adapters, aliases."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from backburner.pools import NONE_YET_SECONDS, PoolDirectory, PoolStatus
from backburner_schemas.errors import ModelNotFound

_FRESH_SECONDS = 5.0
"""For how long a listing is given again: a store must not be listed for each of many calls."""


class ModelObject(BaseModel):
    """A model, in OpenAI's form; what OpenAI does not have comes last, from `root` on."""

    id: str
    """The name that requests use."""
    object: Literal["model"] = "model"
    """Always `model`."""
    created: int
    """Unix seconds at which its pool was registered."""
    owned_by: str = "backburner"
    """Always `backburner`."""
    root: str
    """The base model that is resident: the same as `id`, or what the adapter or alias stands on."""
    kind: Literal["model", "adapter", "alias"] = "model"
    """Whether it is a base model, a LoRA adapter, or another name for a base model."""
    pool: str
    """The pool that serves it."""
    live: bool
    """Whether a worker is alive in the pool."""


class ModelPage(BaseModel):
    """Every model, in OpenAI's form."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[ModelObject]
    """The models, by name."""


class ModelCatalogue:
    """Reads the pools, at most every few seconds."""

    def __init__(self, pools: PoolDirectory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pools = pools
        self._clock = clock
        self._models: list[ModelObject] = []
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def models(self) -> list[ModelObject]:
        """Every model by name. Raises `StoreError`."""
        async with self._reading:
            fresh_seconds = _FRESH_SECONDS if self._models else NONE_YET_SECONDS
            if self._read_at is None or self._clock() - self._read_at > fresh_seconds:
                self._models = sorted(_listed(await self._pools.read()), key=lambda model: model.id)
                self._read_at = self._clock()
        return self._models

    async def model(self, name: str) -> ModelObject:
        """The model of that name. Raises `ModelNotFound` and `StoreError`."""
        for model in await self.models():
            if model.id == name:
                return model
        raise ModelNotFound(f"there is no model {name[:128]!r}; `GET /v1/models` lists those that exist", param="model")


def _listed(pools: Sequence[PoolStatus]) -> Iterator[ModelObject]:
    """A base model goes before an adapter or alias of the same name."""
    seen: set[str] = set()
    named = [
        *((pool, pool.model, "model") for pool in pools),
        *((pool, name, "adapter") for pool in pools for name in pool.adapters),
        *((pool, name, "alias") for pool in pools for name in getattr(pool.manifest, "aliases", ())),
    ]
    for pool, name, kind in named:
        if name in seen:
            continue
        seen.add(name)
        yield ModelObject(
            id=name,
            created=int(pool.manifest.created_at),
            root=pool.model,
            kind=kind,
            pool=pool.pool,
            live=pool.live,
        )
