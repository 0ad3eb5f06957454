"""Tokens by OAuth's client credentials: an endpoint is asked, and what it issues is kept until it grows old."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from backburner.credentials.files import read_secret
from backburner.publishers.kafka.security.token_threads import ThreadsBusy, TokenThreads
from backburner.settings.kafka import KafkaTokens
from backburner_schemas.errors import SettingsError

_ANSWER_SECONDS = 10.0
_MAX_ANSWER_BYTES = 256 * 1024
_MAX_KEPT_SECONDS = 24 * 3600.0
"""However long an endpoint says that its token is good."""
_RENEWED_RATIO = 0.8
"""The part of a token's life after which the next connection asks for a new one."""
_URL = "BACKBURNER_KAFKA_SECURITY_TOKEN_URL"
_ID = "BACKBURNER_KAFKA_SECURITY_CLIENT_ID"
_SECRET = "BACKBURNER_KAFKA_SECURITY_CLIENT_SECRET"  # noqa: S105 - a variable's name
_SECRET_FILE = f"{_SECRET}_FILE"


class EndpointFailed(Exception):
    """The token endpoint gave no token; the message says why, and holds nothing of what was sent."""


class TokenEndpoint:
    """One endpoint, and the last token that it issued. Not for several event loops."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        secret: Callable[[], str],
        scope: str | None = None,
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret` is called for each token, `context` for each connection to an https URL."""
        self._url = url
        self._client_id = client_id
        self._secret = secret
        self._scope = scope
        self._context = context
        self._clock = clock
        self._token = ""
        self._renew_at = self._over_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._threads = TokenThreads()

    @classmethod
    def by(cls, settings: KafkaTokens) -> "TokenEndpoint":
        """The endpoint that the settings name. Asks it nothing. Raises `SettingsError`."""
        url, given, file = settings.url, settings.client_secret, settings.client_secret_file
        if url is None or not _is_address(url):
            raise SettingsError(f"{_URL} is not understood; write it as in https://login.example/token")
        if settings.client_id is None or (given is None) == (file is None):
            raise SettingsError(f"{_URL} needs {_ID}, and {_SECRET} or {_SECRET_FILE}; set them")
        if file is not None:
            read_secret(_SECRET_FILE, file)
        context = _context_by(settings.ca_file)
        context()
        return cls(
            url,
            client_id=settings.client_id,
            secret=lambda: read_secret(_SECRET_FILE, file or "") if given is None else given.get_secret_value(),
            scope=settings.scope,
            context=context,
        )

    async def token(self) -> str:
        """The last token while it is young, otherwise a new one. Bounded.

        While the endpoint fails it is the old one, until that is over. Raises `EndpointFailed`, and `ThreadsBusy`.
        """
        async with self._one_at_a_time:
            now = self._clock()
            if now >= self._renew_at:
                try:
                    self._token, seconds = await self._threads.run(self._ask)
                except (EndpointFailed, ThreadsBusy):
                    if now >= self._over_at:
                        raise
                else:
                    self._renew_at, self._over_at = now + seconds * _RENEWED_RATIO, now + seconds
            return self._token

    def _ask(self) -> tuple[str, float]:
        """A new token, and for how many seconds it is good."""
        try:
            answer = self._answer()
        except HTTPError as error:
            raise EndpointFailed(f"the token endpoint {_host(self._url)} refused: {_refusal(error)}") from error
        except ssl.SSLError as error:
            raise self._untrusted(error) from error
        except (OSError, HTTPException) as error:
            if isinstance(reason := getattr(error, "reason", None), ssl.SSLError):
                raise self._untrusted(reason) from error
            why = reason or str(error) or type(error).__name__
            raise EndpointFailed(
                f"the token endpoint {_host(self._url)} does not answer ({why}); check {_URL}"
            ) from error
        except SettingsError as error:
            raise EndpointFailed(error.message) from error
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str):
            raise EndpointFailed(
                f"the token endpoint {_host(self._url)} answered without an access_token; check {_URL}"
            )
        return token, _life(seconds)

    def _answer(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret())}"
        headers = {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        request = Request(self._url, urlencode(form).encode(), headers)  # noqa: S310 - http or https, checked above
        opener = build_opener(_NoRedirect, HTTPSHandler(context=self._context()))
        with opener.open(request, timeout=_ANSWER_SECONDS) as answer:
            data = answer.read(_MAX_ANSWER_BYTES + 1)
        try:
            found = json.loads(data) if len(data) <= _MAX_ANSWER_BYTES else None
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}

    def _untrusted(self, error: ssl.SSLError) -> EndpointFailed:
        return EndpointFailed(
            f"the token endpoint {_host(self._url)} is not trusted ({error.reason or error}); name the PEM file of its "
            "authority in BACKBURNER_KAFKA_SECURITY_TOKEN_CA_FILE"
        )


class _NoRedirect(HTTPRedirectHandler):
    """A secret goes nowhere but where the settings say."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _context_by(file: str | None) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"BACKBURNER_KAFKA_SECURITY_TOKEN_CA_FILE {file} cannot be used ({error}); name a PEM file"
            ) from error

    return context


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None


def _life(said: object) -> float:
    """Seconds for which a token is good, as its endpoint says, in digits too as some do; 0 where it says nothing."""
    seconds = int(said[:6]) if isinstance(said, str) and said.isascii() and said.isdigit() else said
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        return 0.0
    return float(min(seconds, _MAX_KEPT_SECONDS))


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _refusal(error: HTTPError) -> str:
    """What it answered: OAuth's own code where there is one, and the remedy."""
    try:
        found = json.loads(error.read(_MAX_ANSWER_BYTES))
        code = str(found["error"])[:80] if isinstance(found, dict) and "error" in found else ""
    except (OSError, ValueError, HTTPException, RecursionError):
        code = ""
    said = f"{error.code}, {code}" if code else str(error.code)
    if code in {"invalid_client", "unauthorized_client"} or error.code in {401, 403}:
        return f"{said}; check {_ID} and {_SECRET}"
    if code == "invalid_scope":
        return f"{said}; check BACKBURNER_KAFKA_SECURITY_SCOPE"
    return f"{said}; check {_URL}"
