"""Which tokens are accepted, and whom they name. Pure: keys come from elsewhere, and nothing is fetched."""

import base64
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwk import Key

from backburner.gateway.auth.bearer import MAX_CREDENTIAL_CHARACTERS
from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason, Refused
from backburner_schemas.names import is_name

# What is weak is left out below, and a warning each would be no line of the log's form.
warnings.filterwarnings("ignore", category=SecurityWarning)

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
"""All that can be allowed: signatures by a private key. What a secret signs, everybody who checks it could sign."""

MAX_KEY_ID_CHARACTERS = 256

_MAX_HEADER_CHARACTERS = 2_048
_MAX_SUBJECT_CHARACTERS = 255
_FORBIDDEN = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "b64", "enc", "zip", "epk"})
"""Header members that name another key, another form, or something that would have to be understood."""
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_SCOPE_CLAIMS = ("scope", "scp", "roles")
"""The first of them that a token has tells its scopes; issuers differ."""


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """What a token's header says of its signature, before that is checked."""

    algorithm: str
    key_id: str | None


class _Registry(jws.JWSRegistry):
    max_header_length = _MAX_HEADER_CHARACTERS
    max_payload_length = MAX_CREDENTIAL_CHARACTERS


class TokenPolicy:
    """Judges tokens of one issuer."""

    def __init__(
        self,
        issuer: str,
        audiences: Sequence[str],
        *,
        tenant_claim: str,
        algorithms: Sequence[str],
        leeway_seconds: int,
        now: Callable[[], float],
    ) -> None:
        if not audiences or not algorithms or not set(algorithms) <= set(ALGORITHMS):
            raise ValueError("a policy needs an audience, and algorithms that sign with a private key")
        self._algorithms = frozenset(algorithms)
        self._tenant_claim = tenant_claim
        # A member that is not known changes nothing, unless the header says that it is critical.
        self._registry = _Registry(algorithms=tuple(algorithms), strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            leeway=leeway_seconds,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "values": [*audiences]},
            sub={"essential": True},
            exp={"essential": True},
        )

    def header_of(self, token: str) -> TokenHeader:
        """What the header says, if it is one that an honest token has. Raises `Refused`."""
        if len(token) > MAX_CREDENTIAL_CHARACTERS or _TOKEN.fullmatch(token) is None:
            raise Refused(Reason.MALFORMED)
        header = _decoded(token.partition(".")[0])
        if found := sorted(_FORBIDDEN & header.keys()):
            raise Refused(Reason.FORBIDDEN_HEADER, f"a token whose header has {found[0]!r} is not accepted")
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "jwt")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise Refused(Reason.FORBIDDEN_ALGORITHM, "the token's algorithm is not accepted here")
        if "kid" in header and not is_key_id(key_id):
            raise Refused(Reason.FORBIDDEN_HEADER, "the token's key id is not accepted: it is no short text")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise Refused(Reason.FORBIDDEN_HEADER, "this is no access token: its type is another one")
        return TokenHeader(algorithm, key_id)

    def principal_of(self, token: str, key: Key) -> Principal:
        """The caller that the token names, if that key signed it and its claims hold. Raises `Refused`."""
        try:
            claims = jwt.decode(token, key, registry=self._registry).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise Refused(Reason.BAD_SIGNATURE, "the token's signature is not the issuer's") from error
        try:
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise Refused(Reason.EXPIRED_TOKEN, "the token has expired; get a new one") from error
        except (JoseError, ValueError, TypeError) as error:
            raise Refused(
                Reason.BAD_CLAIM, "the token is not for this service: its issuer, audience, subject or times do not fit"
            ) from error
        if "cnf" in claims:
            raise Refused(
                Reason.BAD_CLAIM, "the token is bound to a proof that is not checked here; use a bearer token"
            )
        return Principal(self._tenant_of(claims), _subject_of(claims), _scopes_of(claims))

    def _tenant_of(self, claims: Mapping[str, Any]) -> str:
        tenant = claims.get(self._tenant_claim)
        if not isinstance(tenant, str) or not is_name(tenant):
            raise Refused(Reason.NO_TENANT, f"the token's claim {self._tenant_claim!r} names no tenant")
        return tenant


def is_key_id(value: object) -> bool:
    """Whether a key's id is a short text of visible characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_ID_CHARACTERS and value.isprintable()


def _decoded(segment: str) -> dict[str, Any]:
    if len(segment) > _MAX_HEADER_CHARACTERS:
        raise Refused(Reason.MALFORMED, "the token's header is too long")
    try:
        found = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, "the token's header is not understood") from error
    if not isinstance(found, dict):
        raise Refused(Reason.MALFORMED, "the token's header is not understood")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a name that stands twice, two readers may take different ones.
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _subject_of(claims: Mapping[str, Any]) -> str:
    subject: str = claims["sub"]
    if not 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise Refused(Reason.BAD_CLAIM, "the token's subject is no short text")
    return subject


def _scopes_of(claims: Mapping[str, Any]) -> frozenset[Scope]:
    told = next((claims[name] for name in _SCOPE_CLAIMS if claims.get(name) is not None), None)
    names = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
    return frozenset(scope for scope in Scope if scope.value in names)
