"""Why no connection comes about, and what to do: aiokafka only logs it, and says that no broker answers.

So one connection is tried by itself, with what the client has, and its error is what counts.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

from backburner.publishers.kafka.security.tokens import TokenUnavailable
from backburner_schemas.errors import QueueDenied, QueueError

_TRY_SECONDS = 5.0
_SECURITY = "BACKBURNER_KAFKA_SECURITY_"
_UNKNOWN_AUTHORITY = {
    18,  # self-signed
    19,  # self-signed in the chain
    20,  # its issuer is not here
    21,  # the first cannot be verified
}
_EXPIRED, _NOT_YET = 10, 9
_ADDRESSES = {62, 64}  # of another host, of another address
_ALERTS = {
    "certificate required": "it wants one from this client",
    "unknown ca": "it does not know its authority",
    "certificate unknown": "it does not accept it",
    "certificate expired": "it has expired",
    "bad certificate": "it does not accept it",
    "handshake failure": "it may want one from this client",
}
_MAX_WORDS = 200


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
            return UnsupportedSaslMechanismError(", ".join(connection.offered))
        return _cause(error)
    finally:
        connection.close(reason=CloseReason.SHUTDOWN)
    return None


class TlsWanted(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The broker speaks TLS on a port where this side does not."""


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


def is_refusal(error: BaseException) -> bool:
    """Whether the broker, or this side, refuses the other's credentials: waiting alone changes nothing."""
    return isinstance(
        error,
        (
            AuthenticationFailedError,
            IllegalSaslStateError,
            SaslAuthenticationFailed,
            TlsWanted,
            UnsupportedSaslMechanismError,
            TokenUnavailable,
            ssl.SSLError,
        ),
    )


def explained(error: BaseException, arguments: Mapping[str, Any]) -> QueueError:
    """The error to raise for that one, with the remedy."""
    if isinstance(error, TokenUnavailable):
        return QueueDenied(f"no token to sign in to the broker with: {_words(error)}")
    if isinstance(error, (SaslAuthenticationFailed, AuthenticationFailedError)):
        check = f"{_SECURITY}USERNAME and …_PASSWORD or …_PASSWORD_FILE"
        if arguments.get("sasl_mechanism") == "OAUTHBEARER":
            check = f"who issued the token, for whom and until when ({_SECURITY}TOKEN_…)"
        return QueueDenied(f"the broker refused the credentials ({_words(error)}); check {check}")
    if isinstance(error, UnsupportedSaslMechanismError):
        if (mechanism := arguments.get("sasl_mechanism")) is None:
            remedy = f"set {_SECURITY}PROTOCOL to SASL_…, and {_SECURITY}MECHANISM"
            return QueueDenied(f"the broker wants SASL on that port, with {_words(error)}; {remedy}")
        return QueueDenied(
            f"the broker offers {_words(error)} on that port and not {mechanism}; set {_SECURITY}MECHANISM"
        )
    if isinstance(error, TlsWanted):
        return QueueDenied(f"the broker speaks TLS on that port; check {_SECURITY}PROTOCOL and the port")
    if isinstance(error, IllegalSaslStateError):
        return QueueDenied(f"the broker wants no SASL there, or another; check {_SECURITY}PROTOCOL and the port")
    if isinstance(error, ssl.SSLCertVerificationError):
        return QueueDenied(f"the broker's certificate is not trusted ({error.verify_message}); {_remedy(error)}")
    if isinstance(error, ssl.SSLError):
        return QueueDenied(_tls(error))
    servers = ",".join(arguments["bootstrap_servers"])
    remedy = "check BACKBURNER_QUEUE_URL and that the broker is up"
    return QueueError(f"no broker answers at {servers} ({_words(error)}); {remedy}")


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    match error.verify_code:
        case code if code in _UNKNOWN_AUTHORITY:
            return f"name the PEM file of its authority in {_SECURITY}CA_FILE"
        case code if code == _EXPIRED:
            return "renew it"
        case code if code == _NOT_YET:
            return "look at the clocks of both sides"
        case code if code in _ADDRESSES:
            return "give BACKBURNER_QUEUE_URL a name that it has, or the broker's advertised listener"
    return f"check it, and {_SECURITY}CA_FILE"


def _tls(error: ssl.SSLError) -> str:
    reason = (error.reason or str(error)).replace("_", " ").lower()
    for alert, meaning in _ALERTS.items():
        if alert in reason and "alert" in reason:
            return (
                f"the broker refused this client's certificate ({reason}: {meaning}); "
                f"check {_SECURITY}CERT_FILE and …_KEY_FILE"
            )
    if "wrong version number" in reason or "record layer failure" in reason or "packet length" in reason:
        return f"the broker speaks no TLS on that port ({reason}); check {_SECURITY}PROTOCOL and the port"
    return f"TLS with the broker failed ({reason}); check {_SECURITY}PROTOCOL, …_CA_FILE, …_CERT_FILE and …_KEY_FILE"


def _words(error: BaseException) -> str:
    # aiokafka puts its own number and name of an error before what the broker said.
    said = re.sub(r"^(\[Error \d+\] )?(\w+: )?", "", " ".join(str(error).split()))
    return said[:_MAX_WORDS] or type(error).__name__
