"""Who a request comes from, and what it may do. How that was found out is not here."""

from dataclasses import dataclass
from enum import StrEnum

from backburner_schemas.errors import PermissionDenied


class Scope(StrEnum):
    """What a caller may do."""

    READ = "batch:read"
    """See files, batches, models and answers."""
    WRITE = "batch:write"
    """Upload and delete files, create and cancel batches, send requests."""
    ADMIN = "admin"
    """All of the tenant's."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that is known. Everything that it sees belongs to its tenant."""

    tenant: str
    subject: str
    """The API key's id, or the token's subject: at most 255 printable characters."""
    scopes: frozenset[Scope]
    key_id: str | None = None
    """The API key's id; None for other callers."""
    is_anonymous: bool = False
    """Whether anybody could be this caller, since it showed neither key nor token."""

    def allows(self, scope: Scope) -> bool:
        """Whether the caller has that scope, by name or as an admin."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises `PermissionDenied` unless the caller has that scope."""
        if not self.allows(scope):
            raise PermissionDenied(f"this API key or token lacks the scope {scope.value}; use one that has it")
