"""Settings of every Kafka client: security, and how it publishes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr, field_validator

from backburner.settings.group import SettingGroup

TokenCallable = Callable[[], Any]
"""Returns a token as a text, or an awaitable of one."""


@dataclass(frozen=True, slots=True)
class KafkaTokens:
    """Where the tokens of OAUTHBEARER come from: one of file, URL and provider. Not checked."""

    provider: str | TokenCallable | None = None
    file: str | None = None
    url: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    client_secret_file: str | None = None
    scope: str | None = None
    ca_file: str | None = None
    extensions: str = ""


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How Kafka clients encrypt and sign in. Not checked; `kafka_connection` does that."""

    protocol: str
    mechanism: str
    username: str | None
    password: SecretStr | None
    password_file: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    tokens: KafkaTokens


class KafkaSettings(SettingGroup):
    """Kafka: security of the connection, and publishing."""

    kafka_security_protocol: str = "PLAINTEXT"
    """Security protocol of the Kafka brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    kafka_security_mechanism: str = "SCRAM-SHA-512"
    """SASL mechanism of the Kafka brokers, for protocols with SASL: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or
    `OAUTHBEARER`."""
    kafka_security_username: str | None = None
    """User that Kafka clients sign in as, for protocols with SASL."""
    kafka_security_password: SecretStr | None = None
    """Password that Kafka clients sign in with, for protocols with SASL."""
    kafka_security_password_file: str | None = None
    """File with that password, instead; it is read again when it has changed, so that a new one needs no restart."""
    kafka_security_ca_file: str | None = None
    """PEM file of the authority that signed the Kafka brokers' certificates; the system's authorities if not set. This
    file, the certificate's and the key's are read again when they have changed."""
    kafka_security_cert_file: str | None = None
    """PEM file of the client's certificate, for mutual TLS with Kafka brokers."""
    kafka_security_key_file: str | None = None
    """PEM file of the client's key, for mutual TLS with Kafka brokers; if not set, it is in the certificate's file."""
    kafka_security_token_provider: str | TokenCallable | None = None
    """What returns the tokens for `OAUTHBEARER`: `aws-msk-iam`, or a function without arguments as `module:function`,
    plain or async, which returns one as a text and is called for each connection. An argument may be the function
    itself."""
    kafka_security_token_file: str | None = None
    """File with the token for `OAUTHBEARER`, instead, read for each connection: what a service account's is mounted
    as."""
    kafka_security_token_url: str | None = None
    """Token endpoint for `OAUTHBEARER`, instead, which issues tokens by client credentials: what Kafka's own clients
    name `sasl.oauthbearer.token.endpoint.url`."""
    kafka_security_client_id: str | None = None
    """Client id that the token endpoint is asked with."""
    kafka_security_client_secret: SecretStr | None = None
    """Secret of that client."""
    kafka_security_client_secret_file: str | None = None
    """File with that secret, instead, read again for each token."""
    kafka_security_scope: str | None = None
    """Scope that the token endpoint is asked for, if it wants one."""
    kafka_security_token_ca_file: str | None = None
    """PEM file of the authority that signed the token endpoint's certificate; the system's authorities if not set."""
    kafka_security_extensions: str = ""
    """SASL extensions that go with a token, as `name=value,name=value`: Confluent Cloud wants `logicalCluster` and
    `identityPoolId`."""
    kafka_idempotence: bool = True
    """Whether Kafka producers are idempotent; turn it off for brokers that cannot."""

    @field_validator("kafka_security_token_provider", mode="before")
    @classmethod
    def _provider_is_callable_or_text(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str) and not callable(value):
            raise ValueError("it is neither a text nor a function")
        return value

    @property
    def kafka_security(self) -> KafkaSecurity:
        """Protocol, SASL and TLS, as they are set."""
        return KafkaSecurity(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_security_mechanism,
            username=self.kafka_security_username,
            password=self.kafka_security_password,
            password_file=self.kafka_security_password_file,
            ca_file=self.kafka_security_ca_file,
            cert_file=self.kafka_security_cert_file,
            key_file=self.kafka_security_key_file,
            tokens=KafkaTokens(
                provider=self.kafka_security_token_provider,
                file=self.kafka_security_token_file,
                url=self.kafka_security_token_url,
                client_id=self.kafka_security_client_id,
                client_secret=self.kafka_security_client_secret,
                client_secret_file=self.kafka_security_client_secret_file,
                scope=self.kafka_security_scope,
                ca_file=self.kafka_security_token_ca_file,
                extensions=self.kafka_security_extensions,
            ),
        )
