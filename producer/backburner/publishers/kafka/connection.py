"""How every Kafka client of Backburner reaches the broker, from the settings. It connects to nothing itself."""

import ssl
from typing import Any

from aiokafka.errors import AuthenticationFailedError, SaslAuthenticationFailed

from backburner.settings import Settings
from backburner.settings.kafka import KafkaSecurity
from backburner_schemas.errors import QueueError, SettingsError


def kafka_connection(settings: Settings) -> dict[str, Any]:
    """The arguments that lead an aiokafka client to the broker. Raises `SettingsError` for what cannot be used."""
    queue = settings.queue
    if not queue.servers:
        raise SettingsError(f"BACKBURNER_QUEUE_URL {settings.queue_url!r} is not Kafka's; set kafka://host:port,…")
    security = settings.kafka_security
    protocol = security.protocol.upper()
    if protocol not in {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}:
        raise SettingsError(
            f"BACKBURNER_KAFKA_SECURITY_PROTOCOL {protocol!r} is unknown; "
            "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        )
    connection: dict[str, Any] = {"bootstrap_servers": list(queue.servers), "security_protocol": protocol}
    if protocol.endswith("SSL"):
        connection["ssl_context"] = _tls(security)
    if protocol.startswith("SASL"):
        connection.update(_sasl(security))
    return connection


def _tls(security: KafkaSecurity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"the files of BACKBURNER_KAFKA_SECURITY_CA_FILE, …_CERT_FILE and …_KEY_FILE cannot be used: {error}"
        ) from error
    return context


def _sasl(security: KafkaSecurity) -> dict[str, Any]:
    mechanism = security.mechanism.upper()
    if mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise SettingsError(
            f"BACKBURNER_KAFKA_SECURITY_MECHANISM {mechanism!r} is unknown; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )
    if security.username is None or security.password is None:
        raise SettingsError(
            "SASL needs BACKBURNER_KAFKA_SECURITY_USERNAME and BACKBURNER_KAFKA_SECURITY_PASSWORD; set both"
        )
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password.get_secret_value(),
    }


def unreachable(settings: Settings, error: BaseException) -> QueueError:
    """The error to raise when the broker could not be used."""
    reason = str(error) or type(error).__name__
    if isinstance(error, (SaslAuthenticationFailed, AuthenticationFailedError)):
        return QueueError(f"the broker refused the credentials ({reason}); check BACKBURNER_KAFKA_SECURITY_…")
    return QueueError(
        f"no broker answers at {settings.queue_url} ({reason}); check BACKBURNER_QUEUE_URL and that the broker is up"
    )
