"""How much of a tenant waits or is kept, and how much of it came from whom. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backburner_schemas.job import Cursor, JobManifest

_REQUEST_BYTES = 1_000
"""What a request is reckoned to have, until the input of its job has been read."""
_TOKEN_BYTES = 4
"""What a token of a prompt is reckoned to have, until then."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So much that waits, or is kept."""

    jobs: int = 0
    requests: int = 0
    tokens: int = 0
    stored_bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        """Both together."""
        return Amount(
            self.jobs + other.jobs,
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.stored_bytes + other.stored_bytes,
        )


@dataclass(slots=True)
class Level:
    """What one tenant has, together and by caller."""

    whole: Amount = Amount()
    by_caller: dict[str, Amount] = field(default_factory=dict)

    def add(self, caller: str | None, amount: Amount) -> None:
        """Count what that caller brought; None for what did not come through the gateway."""
        self.whole += amount
        if caller is not None:
            self.by_caller[caller] = self.of_caller(caller) + amount

    def merge(self, other: "Level") -> None:
        """Count all that the other has as well."""
        self.whole += other.whole
        for caller, amount in other.by_caller.items():
            self.by_caller[caller] = self.of_caller(caller) + amount

    def of_caller(self, caller: str) -> Amount:
        """What that caller has."""
        return self.by_caller.get(caller, Amount())


def level_of(jobs: Iterable[tuple[str | None, Amount]]) -> Level:
    """The level of these jobs; each comes with who made it."""
    level = Level()
    for caller, amount in jobs:
        level.add(caller, amount)
    return level


def unanswered(manifest: JobManifest, cursor: Cursor | None, answered: int) -> Amount:
    """What waits of a job that has so many records."""
    size = manifest.stored.bytes if manifest.stored is not None else 0
    total = cursor.total if cursor is not None and cursor.total is not None else None
    if total is None:
        total = -(-size // _REQUEST_BYTES) if manifest.stored is not None else cursor.count if cursor is not None else 0
    estimate = cursor.estimate if cursor is not None else None
    tokens = estimate.prompt_tokens + estimate.completion_tokens if estimate is not None else size // _TOKEN_BYTES
    left = max(0, total - answered)
    return Amount(1, left, tokens * left // total if total else 0)
