"""The settings as named arguments, for type checkers and editors: what `Settings` has, none of them required.

What each means is said beside its field in the other files here. None means: not given.
"""

from typing import TypedDict

from pydantic import SecretStr

from backburner.settings.kafka import TokenCallable


class SettingArguments(TypedDict, total=False):
    """Named arguments of `Client` and `SyncClient`, as docs/settings.md describes them."""

    freeze_grace_seconds: float | None
    kafka_idempotence: bool | None
    kafka_security_ca_file: str | None
    kafka_security_cert_file: str | None
    kafka_security_client_id: str | None
    kafka_security_client_secret: SecretStr | str | None
    kafka_security_client_secret_file: str | None
    kafka_security_extensions: str | None
    kafka_security_key_file: str | None
    kafka_security_mechanism: str | None
    kafka_security_password: SecretStr | str | None
    kafka_security_password_file: str | None
    kafka_security_protocol: str | None
    kafka_security_scope: str | None
    kafka_security_token_ca_file: str | None
    kafka_security_token_file: str | None
    kafka_security_token_provider: str | TokenCallable | None
    kafka_security_token_url: str | None
    kafka_security_username: str | None
    log_level: str | None
    max_body_bytes: int | None
    pool: str | None
    prefix: str | None
    profile: str | None
    queue_url: str | None
    store_ca_file: str | None
    store_endpoint: str | None
    store_url: str | None
    tenant: str | None
    topic_partitions: int | None
    topic_replication: int | None
    topic_retention_seconds: float | None
