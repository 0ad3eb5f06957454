"""The port between a request's Authorization header and who sent it."""

from typing import Protocol

from backburner.gateway.auth.principal import Principal


class Authenticator(Protocol):
    """Tells who sent a request."""

    async def authenticate(self, authorization: str | None) -> Principal:
        """The caller that the `Authorization` header names; None where there is no such header.

        Returns within seconds. Raises `Unauthenticated` for a header that is missing or not accepted, its message fit
        for the caller: it repeats nothing of the header. Raises `Overloaded` where too many unknown keys wait to be
        looked up, and `StoreError` or `IdentityUnavailable` while it cannot be found out. Safe to cancel.
        """
        ...
