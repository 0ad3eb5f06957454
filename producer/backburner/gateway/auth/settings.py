"""Settings of who may call the gateway."""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from backburner.gateway.auth.issuer import IssuerOptions
from backburner.gateway.auth.token_policy import ALGORITHMS, TokenPolicy
from backburner.gateway.loopback import is_loopback
from backburner.settings.group import SettingGroup
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import is_name


class AuthSettings(SettingGroup):
    """Callers: whose tokens the gateway accepts beside its own API keys."""

    oidc_issuer: str | None = None
    """URL of the OpenID issuer whose tokens are accepted, exactly as they name it; none if not set."""
    oidc_audience: str = ""
    """Audiences that a token may be meant for, comma-separated; needed where an issuer is set."""
    oidc_tenant_claim: Annotated[str, Field(min_length=1, max_length=255)] = "tenant"
    """Claim of a token that names the caller's tenant."""
    oidc_algorithms: str = "RS256,PS256,ES256,EdDSA"
    """Algorithms that a token may be signed with, comma-separated: those with a public key alone."""
    oidc_leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 60
    """Seconds that the issuer's clock may differ from the gateway's."""
    oidc_keys_seconds: Annotated[float, Field(ge=30, le=86_400)] = 300.0
    """Seconds after which the issuer's keys are fetched again; unknown ones are looked for at once."""
    oidc_stale_seconds: Annotated[float, Field(ge=60, le=604_800)] = 3_600.0
    """Seconds for which known keys are used while the issuer does not answer."""
    oidc_ca_file: str | None = None
    """PEM file of the authority that signed the issuer's certificate; the system's authorities if not set."""
    oidc_allow_http: bool = False
    """Whether the issuer may be reached without TLS at an address that is not loopback."""
    gateway_anonymous_tenant: str | None = None
    """Tenant of callers without a key or token; if not set, nobody is let in without. Only on loopback."""

    @field_validator("oidc_algorithms")
    @classmethod
    def _known_algorithms(cls, value: str) -> str:
        unknown = [name for name in _names(value) if name not in ALGORITHMS]
        if unknown or not _names(value):
            raise ValueError(
                f"{', '.join(unknown) or 'nothing'} is no algorithm here; use some of {', '.join(ALGORITHMS)}"
            )
        return value

    @field_validator("gateway_anonymous_tenant")
    @classmethod
    def _a_tenant(cls, value: str | None) -> str | None:
        if value is not None and not is_name(value):
            raise ValueError("a tenant's name must match [A-Za-z0-9][A-Za-z0-9._-]{0,254}")
        return value

    @model_validator(mode="after")
    def _an_audience(self) -> "AuthSettings":
        if self.oidc_issuer is not None and not _names(self.oidc_audience):
            raise ValueError(
                "BACKBURNER_OIDC_ISSUER needs BACKBURNER_OIDC_AUDIENCE: without it, tokens that were made for other "
                "services would be accepted"
            )
        if self.oidc_stale_seconds < self.oidc_keys_seconds:
            raise ValueError("BACKBURNER_OIDC_STALE_SECONDS must not be less than BACKBURNER_OIDC_KEYS_SECONDS")
        return self

    @property
    def issuer_options(self) -> IssuerOptions | None:
        """How the issuer is reached; None where none is set."""
        if self.oidc_issuer is None:
            return None
        return IssuerOptions(
            url=self.oidc_issuer,
            fresh_seconds=self.oidc_keys_seconds,
            stale_seconds=self.oidc_stale_seconds,
            ca_file=None if self.oidc_ca_file is None else Path(self.oidc_ca_file),
            allow_http=self.oidc_allow_http,
        )

    def token_policy(self) -> TokenPolicy:
        """Which tokens of the issuer are accepted. Raises `ValueError` where no issuer is set."""
        if self.oidc_issuer is None:
            raise ValueError("no issuer is set")
        return TokenPolicy(
            self.oidc_issuer,
            _names(self.oidc_audience),
            tenant_claim=self.oidc_tenant_claim,
            algorithms=_names(self.oidc_algorithms),
            leeway_seconds=self.oidc_leeway_seconds,
            now=time.time,
        )

    def check_anonymous(self, host: str) -> None:
        """Raise `SettingsError` where callers without a name could come from other machines."""
        if self.gateway_anonymous_tenant is not None and not is_loopback(host):
            raise SettingsError(
                f"BACKBURNER_GATEWAY_ANONYMOUS_TENANT lets everybody in who reaches {host}; listen on 127.0.0.1, or "
                "make API keys with `backburner keys create`"
            )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
