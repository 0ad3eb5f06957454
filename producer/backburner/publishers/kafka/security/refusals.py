"""What it means that a broker, or this side, does not accept the other, and what to do. Makes no connection."""

import re
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from backburner.publishers.kafka.security.scram import ServerUnproven
from backburner.publishers.kafka.security.tokens import TokenUnavailable
from backburner_schemas.errors import QueueDenied, QueueError

_SECURITY = "BACKBURNER_KAFKA_SECURITY_"
_UNKNOWN_AUTHORITY = {
    18,  # self-signed
    19,  # self-signed in the chain
    20,  # its issuer is not here
    21,  # the first cannot be verified
}
_EXPIRED_CODE, _NOT_YET_CODE = 10, 9
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


class TlsWanted(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The broker speaks TLS on a port where this side does not."""


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
    """The error to raise for that one, with the remedy; `arguments` are those of the connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return QueueDenied(f"the broker's certificate is not trusted ({error.verify_message}); {_remedy(error)}")
    if isinstance(error, ssl.SSLError):
        return QueueDenied(_tls(error))
    if is_refusal(error):
        return QueueDenied(_sasl(error, arguments.get("sasl_mechanism")))
    servers = ",".join(arguments["bootstrap_servers"])
    remedy = "check BACKBURNER_QUEUE_URL and that the broker is up"
    return QueueError(f"no broker answers at {servers} ({_words(error)}); {remedy}")


def _sasl(error: BaseException, mechanism: str | None) -> str:
    words, check_port = _words(error), f"check {_SECURITY}PROTOCOL and the port"
    if isinstance(error, TokenUnavailable):
        return f"no token to sign in to the broker with: {words}"
    if isinstance(error, ServerUnproven):
        return (
            f"the broker did not prove that it knows the password ({words}): another server may stand in its place; "
            f"check BACKBURNER_QUEUE_URL, and trust no certificates but those of {_SECURITY}CA_FILE"
        )
    if isinstance(error, TlsWanted):
        return f"the broker speaks TLS on that port; {check_port}"
    if isinstance(error, IllegalSaslStateError):
        return f"the broker wants no SASL on that port; {check_port}"
    if isinstance(error, UnsupportedSaslMechanismError):
        if mechanism is None:
            remedy = f"set {_SECURITY}PROTOCOL to SASL_…, and {_SECURITY}MECHANISM"
            return f"the broker wants SASL on that port, with {words}; {remedy}"
        return f"the broker offers {words} on that port and not {mechanism}; set {_SECURITY}MECHANISM"
    check = f"{_SECURITY}USERNAME and …_PASSWORD or …_PASSWORD_FILE"
    if mechanism == "OAUTHBEARER":
        check = f"who issued the token, for whom and until when ({_SECURITY}TOKEN_…)"
    return f"the broker refused the credentials ({words}); check {check}"


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    match error.verify_code:
        case code if code in _UNKNOWN_AUTHORITY:
            return f"name the PEM file of its authority in {_SECURITY}CA_FILE"
        case code if code == _EXPIRED_CODE:
            return "renew it"
        case code if code == _NOT_YET_CODE:
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
    said = " ".join(str(error).split())
    if isinstance(error, KafkaError):
        said = re.sub(r"^(\[Error \d+\] )?(\w+: )?", "", said)
    return said[:_MAX_WORDS] or type(error).__name__
