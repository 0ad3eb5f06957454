"""Knows callers by the tokens of an OpenID issuer."""

from backburner.gateway.auth.issuer import Issuer
from backburner.gateway.auth.principal import Principal
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.gateway.auth.token_policy import TokenPolicy


class TokenAuthenticator:
    """Tells whose a token is."""

    def __init__(self, issuer: Issuer, policy: TokenPolicy) -> None:
        self._issuer = issuer
        self._policy = policy

    async def verify(self, token: str) -> Principal:
        """The caller that the token names. Raises `Refused`, and `IdentityUnavailable` while no keys can be had."""
        header = self._policy.header_of(token)
        key = await self._issuer.key(header.key_id, header.algorithm)
        if key is None:
            raise Refused(Reason.UNKNOWN_SIGNING_KEY, "the token is signed by a key that its issuer does not have")
        return self._policy.principal_of(token, key)
