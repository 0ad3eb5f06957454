"""An OpenID issuer's public keys: found by its discovery document, fetched over HTTP, remembered, and renewed.

Everything that the issuer sends is bounded: time, bytes, keys. It is asked no more often than twice a minute for keys
that it may have changed, however many tokens name one that it does not have.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from joserfc.jwk import Key

from backburner.gateway.auth.signing_keys import SigningKeys
from backburner.gateway.loopback import is_loopback
from backburner.logs import get_logger
from backburner_schemas.errors import IdentityUnavailable, SettingsError

_DISCOVERY = "/.well-known/openid-configuration"
_MAX_DOCUMENT_BYTES = 256 * 1024
_FETCH_SECONDS = 5.0
"""For discovery and keys together: a caller may wait for it."""
_ROTATION_SECONDS = 30.0
"""Between two fetches because of keys that are not known."""
_RETRY_SECONDS = 5.0
"""Between two fetches of which the first failed."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IssuerOptions:
    """How an issuer is reached, and how long its keys hold."""

    url: str
    """As its tokens name it."""
    fresh_seconds: float
    """After this they are fetched again, beside what goes on."""
    stale_seconds: float
    """For this long they are used while the issuer does not answer."""
    ca_file: Path | None = None
    """PEM file of the authority that signed its certificate; the system's authorities if None."""
    allow_http: bool = False
    """Whether it may be reached without TLS from afar."""


class _Unusable(Exception):
    """What the issuer answered cannot be used."""


class Issuer:
    """Gives the public keys that tokens are checked with. A context manager: it closes its connections."""

    def __init__(
        self,
        options: IssuerOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises `SettingsError` for an issuer that must not be asked, or an authority that cannot be read."""
        problem = problem_of(options.url, allow_http=options.allow_http)
        if problem is not None:
            raise SettingsError(f"BACKBURNER_OIDC_ISSUER {options.url!r} {problem}")
        self._options = options
        self._clock = clock
        self._client = httpx2.AsyncClient(
            verify=_trust(options.ca_file),
            timeout=_FETCH_SECONDS,
            follow_redirects=False,
            headers={"accept": "application/json", "accept-encoding": "identity"},
            transport=transport,
        )
        self._keys = SigningKeys()
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self._client.aclose()

    async def key(self, key_id: str | None, algorithm: str) -> Key | None:
        """The issuer's key with that id for that algorithm, or None where it has none.

        Raises `IdentityUnavailable` where the issuer does not answer, and its keys are not known or known for too long.
        """
        found = self._keys.find(key_id, algorithm) if self._are_usable() else None
        if found is not None:
            if self._age() >= self._options.fresh_seconds:
                self._fetch_soon(_RETRY_SECONDS)
            return found
        # Keys that are not known may be new. While there are none at all, they are wanted sooner.
        self._fetch_soon(_RETRY_SECONDS if self._failed or not self._are_usable() else _ROTATION_SECONDS)
        if self._fetching is not None:
            # One caller that goes away must not stop it for the others.
            await asyncio.shield(self._fetching)
        found = self._keys.find(key_id, algorithm) if self._are_usable() else None
        if found is None and self._failed:
            raise IdentityUnavailable
        return found

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _are_usable(self) -> bool:
        return self._age() < self._options.stale_seconds

    def _fetch_soon(self, pause: float) -> None:
        """Fetch the keys beside what goes on, unless that is under way or was tried within that time."""
        if self._fetching is None and self._clock() - self._tried_at >= pause:
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        begun_at = self._clock()
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                self._keys = await self._read_keys()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, _Unusable) as error:
            self._failed = True
            reason = str(error) or type(error).__name__
            log.warning("the issuer's keys could not be fetched", issuer=self._options.url, reason=reason[:200])
        else:
            self._failed = False
            self._fetched_at = begun_at
            log.info("the issuer's keys were fetched", issuer=self._options.url, keys=len(self._keys))
        finally:
            self._tried_at = self._clock()
            self._fetching = None

    async def _read_keys(self) -> SigningKeys:
        document = await self._get(self._options.url.rstrip("/") + _DISCOVERY)
        try:
            told: Any = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise _Unusable("its discovery document is not JSON") from error
        if not isinstance(told, dict) or told.get("issuer") != self._options.url:
            raise _Unusable(
                "its discovery document names another issuer; set BACKBURNER_OIDC_ISSUER to exactly that one"
            )
        address = told.get("jwks_uri")
        if not isinstance(address, str):
            raise _Unusable("its discovery document names no key set")
        problem = problem_of(address, allow_http=self._options.allow_http)
        if problem is not None:
            raise _Unusable(f"the address of its key set {problem}")
        try:
            found = SigningKeys.parse(await self._get(address))
        except ValueError as error:
            raise _Unusable(f"its key set cannot be read: {error}") from error
        if not len(found):
            raise _Unusable("its key set has no key that can check a signature")
        return found

    async def _get(self, url: str) -> bytes:
        found = bytearray()
        async with self._client.stream("GET", url) as response:
            if response.status_code != httpx2.codes.OK:
                raise _Unusable(f"it answered {response.status_code}; redirects are not followed")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _Unusable("it answered in an encoding that was not asked for")
            async for piece in response.aiter_bytes():
                found += piece
                if len(found) > _MAX_DOCUMENT_BYTES:
                    raise _Unusable(f"it answered more than {_MAX_DOCUMENT_BYTES:,} bytes")
        return bytes(found)


def problem_of(url: str, *, allow_http: bool) -> str | None:
    """Why nothing may be fetched from there, with the remedy; None where it may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"https", "http"} or not host or parts.username is not None or parts.fragment:
        return "is no https URL"
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        return "must be an https URL; BACKBURNER_OIDC_ALLOW_HTTP lifts that, where the way to it is safe otherwise"
    return None


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"BACKBURNER_OIDC_CA_FILE {ca_file} cannot be read; name a PEM file of certificates"
        ) from error
