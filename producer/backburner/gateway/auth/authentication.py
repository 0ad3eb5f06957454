"""The one authenticator of a gateway: API keys, tokens and, where that is switched on, callers without a name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from backburner.gateway.auth.api_key import PREFIX
from backburner.gateway.auth.api_key_authenticator import ApiKeyAuthenticator
from backburner.gateway.auth.audit_log import AuditLog
from backburner.gateway.auth.bearer import credential_of
from backburner.gateway.auth.issuer import Issuer
from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.gateway.auth.settings import AuthSettings
from backburner.gateway.auth.token_authenticator import TokenAuthenticator
from backburner.storage import Storage

_ANONYMOUS = "anonymous"
_ANONYMOUS_SCOPES = frozenset({Scope.READ, Scope.WRITE})


class Authentication:
    """Tells who sent a request, by whatever its Authorization header carries. The audit log is told what is refused."""

    def __init__(
        self,
        api_keys: ApiKeyAuthenticator,
        tokens: TokenAuthenticator | None,
        audit: AuditLog,
        *,
        anonymous_tenant: str | None = None,
    ) -> None:
        self._api_keys = api_keys
        self._tokens = tokens
        self._audit = audit
        self._anonymous = (
            None
            if anonymous_tenant is None
            else Principal(anonymous_tenant, _ANONYMOUS, _ANONYMOUS_SCOPES, is_anonymous=True)
        )

    async def authenticate(self, authorization: str | None) -> Principal:
        """The caller that the header names. Raises as `Authenticator` says."""
        try:
            return await self._known(credential_of(authorization))
        except Refused as error:
            self._audit.refused(error.reason, tenant=error.tenant, subject=error.subject)
            raise

    async def _known(self, credential: str | None) -> Principal:
        if credential is not None and credential.startswith(PREFIX):
            return await self._api_keys.verify(credential)
        if credential is not None and credential.count(".") == 2:  # noqa: PLR2004 - a signed token has three parts
            if self._tokens is None:
                raise Refused(Reason.NO_ISSUER, "tokens are not accepted here; use an API key")
            return await self._tokens.verify(credential)
        if self._anonymous is not None:
            # The stock package always sends a key, and without a name any will do.
            return self._anonymous
        if credential is None:
            raise Refused(Reason.MISSING, "there is no API key; send one as 'Authorization: Bearer …'")
        raise Refused(
            Reason.MALFORMED,
            f"this is neither an API key, which begins with {PREFIX}, nor a token; check that it is complete",
        )


@asynccontextmanager
async def open_authentication(
    settings: AuthSettings, storage: Storage, audit: AuditLog, *, host: str
) -> AsyncIterator[Authentication]:
    """What the settings say, while the block lasts. `host` is the address that the gateway listens on.

    Raises `SettingsError` for settings that cannot be used, or are not safe together.
    """
    settings.check_anonymous(host)
    async with AsyncExitStack() as stack:
        tokens = None
        if settings.issuer_options is not None:
            issuer = await stack.enter_async_context(Issuer(settings.issuer_options))
            tokens = TokenAuthenticator(issuer, settings.token_policy())
        api_keys = ApiKeyAuthenticator(storage)
        stack.push_async_callback(api_keys.close)
        yield Authentication(api_keys, tokens, audit, anonymous_tenant=settings.gateway_anonymous_tenant)
