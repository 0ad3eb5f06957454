"""Why a caller was not let in: one reason a word, for logs, metrics and the audit log."""

from enum import StrEnum

from backburner_schemas.errors import Unauthenticated


class Reason(StrEnum):
    """Why a caller was not let in, or not let through."""

    MISSING = "missing"
    """There is no Authorization header."""
    MALFORMED = "malformed"
    """What the header carries is neither an API key nor a signed token."""
    UNKNOWN_KEY = "unknown_key"
    """There is no such API key."""
    REVOKED_KEY = "revoked_key"
    """The API key was revoked."""
    EXPIRED_KEY = "expired_key"
    """The API key's time is over."""
    NO_ISSUER = "no_issuer"
    """A token was sent, and no issuer is set."""
    FORBIDDEN_HEADER = "forbidden_header"
    """The token's header has what no token needs and attacks use: `crit`, `jwk`, `jku` and their kin."""
    FORBIDDEN_ALGORITHM = "forbidden_algorithm"
    """The token is not signed, or with an algorithm that is not allowed."""
    UNKNOWN_SIGNING_KEY = "unknown_signing_key"
    """The issuer has no such key for that algorithm."""
    BAD_SIGNATURE = "bad_signature"
    """The signature is not the issuer's."""
    BAD_CLAIM = "bad_claim"
    """Issuer, audience or times of the token do not fit, or one is missing."""
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a reason
    """The token's time is over."""
    NO_TENANT = "no_tenant"
    """The token names no tenant."""
    SCOPE = "scope"
    """The caller is known and lacks the scope."""


class Refused(Unauthenticated):
    """The API key or token is not accepted; send a valid one as `Authorization: Bearer …`."""

    def __init__(
        self, reason: Reason, message: str | None = None, *, tenant: str | None = None, subject: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.tenant = tenant
        """Whose the API key was, where that is known for certain."""
        self.subject = subject
        """The API key's id, likewise."""
