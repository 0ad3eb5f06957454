"""Settings of every Kafka client: security, and how it publishes."""

from dataclasses import dataclass

from pydantic import SecretStr

from backburner.settings.group import SettingGroup


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How Kafka clients encrypt and sign in. Not checked; `kafka_connection` does that."""

    protocol: str
    mechanism: str
    username: str | None
    password: SecretStr | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None


class KafkaSettings(SettingGroup):
    """Kafka: security of the connection, and publishing."""

    kafka_security_protocol: str = "PLAINTEXT"
    """Security protocol of the Kafka brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    kafka_security_mechanism: str = "SCRAM-SHA-512"
    """SASL mechanism of the Kafka brokers: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; for protocols with SASL."""
    kafka_security_username: str | None = None
    """User that Kafka clients sign in as, for protocols with SASL."""
    kafka_security_password: SecretStr | None = None
    """Password that Kafka clients sign in with, for protocols with SASL."""
    kafka_security_ca_file: str | None = None
    """PEM file of the authority that signed the Kafka brokers' certificates; the system's authorities if not set."""
    kafka_security_cert_file: str | None = None
    """PEM file of the client's certificate, for mutual TLS with Kafka brokers."""
    kafka_security_key_file: str | None = None
    """PEM file of the client's key, for mutual TLS with Kafka brokers."""
    kafka_idempotence: bool = True
    """Whether Kafka producers are idempotent; turn it off for brokers that cannot."""

    @property
    def kafka_security(self) -> KafkaSecurity:
        """Protocol, SASL and TLS, as they are set."""
        return KafkaSecurity(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_security_mechanism,
            username=self.kafka_security_username,
            password=self.kafka_security_password,
            ca_file=self.kafka_security_ca_file,
            cert_file=self.kafka_security_cert_file,
            key_file=self.kafka_security_key_file,
        )
