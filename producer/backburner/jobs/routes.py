"""How a job's lines were routed when it was submitted, so that another reading of its input skips the same ones.

Lines that were skipped for their model alone cannot be recognised by today's pools: one may have come, or gone, since.
"""

from backburner.inputs.validation import Router
from backburner.storage import Storage
from backburner.storage.parse import read_stored
from backburner_schemas import keys
from backburner_schemas.errors import PoolNotFound
from backburner_schemas.job import MAX_UNROUTED_MODELS, Sealed, Unrouted

_MAX_BYTES = MAX_UNROUTED_MODELS * 4096


class JobRoutes:
    """The routes of a job. A `Router`."""

    def __init__(self, unrouted: frozenset[str], others: Router | None = None) -> None:
        """Of all other models `others` knows the pool; without it they have one that nobody asks for."""
        self._unrouted = unrouted
        self._others = others

    async def pool_for(self, model: str) -> str:
        """The model's pool. Raises `PoolNotFound` for what had none at the submit."""
        if model in self._unrouted:
            raise PoolNotFound(
                f"no pool served {model!r} when the job was submitted; submit these lines as a new job", param="model"
            )
        return "" if self._others is None else await self._others.pool_for(model)


async def note_unrouted(storage: Storage, tenant: str, job: str, models: frozenset[str] | None) -> None:
    """Keep with the job which models had no pool; nothing of what is not known, or too many. Raises `StoreError`."""
    if models is None or len(models) > MAX_UNROUTED_MODELS:
        await storage.delete([keys.unrouted(tenant, job)])
    else:
        noted = Unrouted(models=tuple(sorted(models)))
        await storage.put(keys.unrouted(tenant, job), noted.model_dump_json().encode())


async def noted_unrouted(storage: Storage, tenant: str, job: str) -> frozenset[str] | None:
    """What `note_unrouted` has kept; None if it has kept nothing. Raises `StoreError`."""
    noted = await read_stored(storage, Unrouted, keys.unrouted(tenant, job), max_bytes=_MAX_BYTES)
    return None if noted is None else frozenset(noted.models)


async def routes_of_input(
    storage: Storage, tenant: str, job: str, sealed: Sealed | None, pools: Router
) -> Router | None:
    """What tells which lines of the job's input were skipped for their model; None where none were.

    By today's pools for a sealed job that noted nothing: one of an older release. One that was never sealed has not
    counted what it skipped. Raises `StoreError`.
    """
    if sealed is not None and not sealed.skipped:
        return None
    unrouted = await noted_unrouted(storage, tenant, job)
    if unrouted is None:
        return None if sealed is None else pools
    return JobRoutes(unrouted)
