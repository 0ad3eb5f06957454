"""Names of pools, topics, queues and groups, and which pool serves a model. One function builds each kind of name."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import PoolConflict, PoolNotFound
from backburner_schemas.names import MAX_MODEL_NAME_CHARACTERS, Lane, is_model_name

DEFAULT_PREFIX = "backburner"
MAX_POOL_CHARACTERS = 40
NEIGHBOUR_REQUESTS = 64
"""Requests of a job, next to each other, that share a partition key: a shared prefix stays on one worker."""

_SLUG = re.compile(r"[a-z0-9-]{1,40}")


def pool_name(served_name: str) -> str:
    """The pool of a base model's served name: a slug, with six hex digits where anything but case was changed."""
    lowered = served_name.lower()
    if is_pool_name(lowered):
        return lowered
    digest = hashlib.sha256(served_name.encode()).hexdigest()[:6]
    return f"{re.sub(r'[^a-z0-9-]', '-', lowered)[: MAX_POOL_CHARACTERS - 7]}-{digest}"


def is_pool_name(name: str) -> bool:
    """Whether a pool can have that name: it is a slug of at most 40 characters."""
    return _SLUG.fullmatch(name) is not None


def topic(prefix: str, pool: str, lane: Lane) -> str:
    """The Kafka topic of a lane."""
    return f"{prefix}.{pool}.{lane}"


def topics(prefix: str, pool: str) -> dict[str, Lane]:
    """Every topic of a pool with its lane."""
    return {topic(prefix, pool, lane): lane for lane in Lane}


def queue(prefix: str, pool: str, lane: Lane) -> str:
    """The SQS queue of a lane."""
    return f"{prefix}-{pool}-{lane}"


def queues(prefix: str, pool: str) -> dict[str, Lane]:
    """Every SQS queue of a pool with its lane."""
    return {queue(prefix, pool, lane): lane for lane in Lane}


def group(prefix: str, pool: str) -> str:
    """The Kafka consumer group of a pool."""
    return f"{prefix}.{pool}"


def partition_key(envelope: Envelope) -> bytes:
    """Keeps neighbours of a job on one partition and spreads the job over all of them."""
    return neighbours_key(envelope.tenant, envelope.job, envelope.index)


def neighbours_key(tenant: str, job: str, index: int | str) -> bytes:
    """The partition key of that request of the job."""
    block = index // NEIGHBOUR_REQUESTS if isinstance(index, int) else index
    return f"{tenant}/{job}/{block}".encode()


@dataclass(frozen=True, slots=True)
class Routes:
    """Which pool serves which model, by exact served name, never by slug."""

    bases: Mapping[str, str] = field(default_factory=dict)
    """Served name of a base model to its pool."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Name of a LoRA adapter to its base model's pool."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Alias of a base model to its pool. What a pool really serves by that name comes first."""

    def pool_for(self, model: str) -> str:
        """The pool that serves the model. Raises a `PoolNotFound` that lists the models that have one."""
        found = self.bases.get(model) or self.adapters.get(model) or self.aliases.get(model)
        if found is None:
            raise PoolNotFound(
                f"no pool serves the model {model!r}; there is {_listed(self._names)}. Name one of these, "
                f"make it an alias with `backburner pools alias POOL {model}`, or make a pool with `backburner topics "
                f"ensure --pool {model}`; of an adapter, start a worker that has it in BACKBURNER_ADAPTERS",
                param="model",
            )
        return found

    def check_pool(self, pool: str) -> str:
        """The pool of that name, which is its slug or served name. Raises `PoolNotFound`."""
        if pool in self.bases:
            return self.bases[pool]
        if pool in self.bases.values():
            return pool
        raise PoolNotFound(f"there is no pool {pool!r}; there is {_listed(self.bases.values())}", param="pool")

    def check_alias(self, pool: str, alias: str) -> None:
        """Raise `PoolConflict` if the pool's model cannot have that alias: something else is called so.

        Another pool's names may not differ from it in letter case alone; those of its own pool may.
        """
        if not is_model_name(alias):
            raise PoolConflict(
                f"{alias!r} cannot be an alias; use up to {MAX_MODEL_NAME_CHARACTERS} printable characters, without "
                "spaces around them"
            )
        for kind, names in (("a model", self.bases), ("an adapter", self.adapters), ("an alias", self.aliases)):
            for name, owner in names.items():
                if owner == pool and (name != alias or names is self.aliases):
                    continue
                if name == alias:
                    raise PoolConflict(f"{alias!r} is {kind} of the pool {owner} already; choose another name")
                if name.lower() == alias.lower():
                    raise PoolConflict(
                        f"{alias!r} differs in letter case alone from {name!r}, {kind} of the pool {owner}; choose "
                        "another name"
                    )

    def check_new(self, served_name: str) -> None:
        """Raise `PoolConflict` if another name differs in letter case alone, is an alias, or has the same pool."""
        for alias, pool in self.aliases.items():
            if alias.lower() == served_name.lower() and self.bases.get(served_name) != pool:
                raise PoolConflict(
                    f"{alias!r} is an alias of the pool {pool}; remove it with `backburner pools alias {pool} "
                    f"{alias} --remove`, or serve {served_name!r} under another name"
                )
        for other, pool in self.bases.items():
            if other == served_name:
                continue
            if other.lower() == served_name.lower():
                raise PoolConflict(f"the pool of {other!r} exists; {served_name!r} differs in letter case alone")
            if pool == pool_name(served_name):
                raise PoolConflict(f"the pool {pool} belongs to {other!r}; serve {served_name!r} under another name")

    @property
    def _names(self) -> dict[str, str]:
        return {**self.bases, **self.adapters, **self.aliases}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none yet"
