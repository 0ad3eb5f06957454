"""Callers without a name, where that is switched on: all are one tenant."""

from backburner.gateway.auth.principal import Principal, Scope

_MAY = frozenset({Scope.READ, Scope.WRITE})


class Anonymous:
    """An authenticator that takes everybody for the same caller of one tenant."""

    def __init__(self, tenant: str) -> None:
        self._principal = Principal(tenant, "anonymous", _MAY)

    async def authenticate(self, authorization: str | None) -> Principal:
        """That caller, whatever the header says."""
        del authorization
        return self._principal
