"""One connection, tried by itself: why none comes about. aiokafka only logs it, and says that no broker answers."""

import asyncio
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

from backburner.publishers.kafka.security.refusals import TlsWanted, is_refusal

_TRY_SECONDS = 5.0


async def connection_error(arguments: Mapping[str, Any]) -> BaseException | None:
    """Why the first bootstrap server that says anything refuses a connection with these arguments.

    None where one of them accepts it. Bounded by seconds for each server.
    """
    servers: Sequence[str] = arguments["bootstrap_servers"]
    last: BaseException | None = None
    for server in servers:
        error = await _tried(server, arguments)
        if error is None or is_refusal(error):
            return error
        last = last or error
    return last


async def _tried(server: str, arguments: Mapping[str, Any]) -> BaseException | None:
    host, _, port = server.rpartition(":")
    options = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    connection = _Attempt(
        host.strip("[]"), int(port), request_timeout_ms=int(_TRY_SECONDS * 1000), client_id="backburner", **options
    )
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            await connection.connect()
            if not arguments["security_protocol"].startswith("SASL"):
                await _check_no_sasl(connection)
    except (KafkaError, OSError, TimeoutError) as error:
        if "ssl_context" not in arguments and isinstance(error, KafkaError) and await _speaks_tls(host, port):
            return TlsWanted()
        if isinstance(error, UnsupportedSaslMechanismError):
            refused: BaseException = UnsupportedSaslMechanismError(", ".join(connection.offered))
            return refused
        return _cause(error)
    finally:
        connection.close(reason=CloseReason.SHUTDOWN)
    return None


async def _speaks_tls(host: str, port: str) -> bool:
    """Whether somebody makes a TLS handshake there; whoever that is, nothing is sent to them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _check_no_sasl(attempt: "_Attempt") -> None:
    """A listener that wants SASL lets everybody ask what it offers, and answers all else as if it had nothing."""
    offered = await attempt.send(SaslHandShakeRequest("PLAIN"))
    if offered.error_code != IllegalSaslStateError.errno:
        raise UnsupportedSaslMechanismError


def _cause(error: BaseException) -> BaseException:
    """What ended the connection: TLS 1.3 refuses a client's certificate after the handshake, when something is read."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLError):
            return below
        below = below.__cause__
    return error


class _Attempt(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's connection, but that it reads what a broker answers to a token, and says what SASL a broker offers."""

    offered: Sequence[str] = ()
    """Mechanisms of the broker, once it was asked."""

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - aiokafka's
        sent: Awaitable[Any] = super().send(request, expect_response)
        return self._noted(sent) if isinstance(request, SaslHandShakeRequest) else sent

    async def _noted(self, sent: Awaitable[Any]) -> Any:
        answer = await sent
        self.offered = sorted(answer.enabled_mechanisms)
        return answer

    def authenticator_oauth(self) -> OAuthAuthenticator:
        return _TokenAnswer(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _TokenAnswer(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    """A broker refuses a token by a text instead of none, and aiokafka takes any for a welcome."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            raise SaslAuthenticationFailed(payload.decode(errors="replace"))
        found: tuple[bytes, bool] | None = await super().step(payload)
        return found
