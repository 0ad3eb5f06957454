"""An OpenID issuer with keys of the test's own, reached without a network, and tokens that it or an attacker signs."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
from joserfc import jwk, jws

ISSUER = "https://issuer.test"
AUDIENCE = "backburner"


def encoded(part: Any) -> str:
    """Base64url of bytes, or of a JSON value."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a token that is accepted; those changed to None are left out."""
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": now + 600,
        "iat": now,
        "tenant": "acme",
        "scope": "openid batch:read batch:write",
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def signed(key: jwk.Key, payload: dict[str, Any] | None = None, *, algorithm: str = "RS256", **header: Any) -> str:
    """A token signed by that key. Header members as they are given: joserfc would refuse to write some of them."""
    head = {"alg": algorithm, "kid": key.get("kid"), **header}
    head = {name: value for name, value in head.items() if value is not ...}
    begin = f"{encoded(head)}.{encoded(claims() if payload is None else payload)}"
    signature = jws.JWSRegistry.algorithms[algorithm].sign(begin.encode(), key)
    return f"{begin}.{encoded(signature)}"


def rsa(key_id: str, bits: int = 2048) -> jwk.RSAKey:
    return jwk.RSAKey.generate_key(bits, {"kid": key_id, "use": "sig"})


def public(*keys: jwk.Key, **changes: Any) -> list[dict[str, Any]]:
    """The public halves, as a key set lists them."""
    return [{**key.as_dict(private=False), **changes} for key in keys]


class FakeIssuer:
    """What the issuer answers; a test changes it."""

    def __init__(self, *keys: jwk.Key) -> None:
        self.listed: list[Any] = public(*keys)
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
        self.instead: Callable[[httpx2.Request], httpx2.Response | None] = lambda _: None
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        """What its keys wait for, if anything."""

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        if self.gate is not None and request.url.path == "/jwks":
            await self.gate.wait()
        other = self.instead(request)
        if other is not None:
            return other
        if request.url.path == "/.well-known/openid-configuration":
            return httpx2.Response(200, json=self.discovery)
        return httpx2.Response(200, json={"keys": self.listed})

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    @property
    def fetches(self) -> int:
        """How often its keys were asked for."""
        return sum(url.endswith("/jwks") for url in self.asked)

    def away(self) -> None:
        """From now on it does not answer."""

        def refuse(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused", request=request)

        self.instead = refuse

    def back(self) -> None:
        """From now on it answers again."""
        self.instead = lambda _: None
