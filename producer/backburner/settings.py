"""Settings of everything that produces: where the queue and the store are, and how to reach them. Read once."""

import os
import re
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from backburner_schemas.errors import SettingsError
from backburner_schemas.names import is_name
from backburner_schemas.request import DEFAULT_MAX_BODY_BYTES
from backburner_schemas.routing import DEFAULT_PREFIX
from backburner_schemas.setting_names import PREFIX, check_arguments, check_environment


class QueueKind(StrEnum):
    """The queues that requests travel on."""

    KAFKA = "kafka"
    """`kafka://host:port,host:port`"""
    SQS = "sqs"
    """`sqs://region`, and `?endpoint=http://…` for a server that is not AWS's"""


class Queue(BaseModel):
    """A queue's URL, taken apart."""

    kind: QueueKind
    servers: tuple[str, ...] = ()
    """Kafka's bootstrap servers, `host:port`."""
    region: str | None = None
    """AWS's region of the SQS queues."""
    endpoint: str | None = None
    """Address of SQS where it is not the region's own."""


class Settings(BaseSettings):
    """What a client and every part beside it reads from arguments and BACKBURNER_… variables, in this order."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    queue_url: str = ""
    """Queue: `kafka://host:port,host:port`, or `sqs://region`, with `?endpoint=http://…` for a server beside AWS."""
    store_url: str = ""
    """Object store and root: `s3://bucket/root`, `gs://…`, `az://…` or `file:///folder`."""
    store_endpoint: str | None = None
    """Address of an S3 server that is not AWS's, such as `http://127.0.0.1:8333`."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")] = DEFAULT_PREFIX
    """First part of every topic and group name: at most 80 letters, digits, `.`, `_` and `-`."""
    tenant: str = "default"
    """Tenant of jobs made here, and of messages that name none."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = DEFAULT_MAX_BODY_BYTES
    """Bytes in one request at most."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`. It is the worker's; of the command line, `-v` shows the log."""
    freeze_grace_seconds: Annotated[float, Field(ge=0)] = 180.0
    """Seconds that late results get after a deadline or a cancel, before the job is frozen."""
    kafka_security_protocol: str = "PLAINTEXT"
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    kafka_security_mechanism: str = "SCRAM-SHA-512"
    """`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; used when the protocol has SASL."""
    kafka_security_username: str | None = None
    """SASL user."""
    kafka_security_password: SecretStr | None = None
    """SASL password."""
    kafka_security_ca_file: str | None = None
    """PEM file of the authority that signed the brokers' certificates; the system's if not set."""
    kafka_security_cert_file: str | None = None
    """PEM file of the client's certificate, for mutual TLS."""
    kafka_security_key_file: str | None = None
    """PEM file of the client's key, for mutual TLS."""
    kafka_idempotence: bool = True
    """Whether producers are idempotent; turn it off for brokers that cannot."""
    topic_partitions: Annotated[int, Field(ge=1)] = 64
    """Partitions of each lane's topic; as many workers as this can share a lane."""
    topic_replication: Annotated[int, Field(ge=1)] = 3
    """Replicas of each topic."""
    topic_retention_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    """Seconds that the broker keeps requests; longer than the longest deadline, or accepted work could be lost."""

    @classmethod
    def load(cls, **arguments: Any) -> "Settings":
        """The settings from arguments, then the environment, then defaults.

        Raises `SettingsError` for an unknown name, a value that cannot be used, or a queue or store that is not told.
        """
        return load_settings(cls, **arguments)

    @property
    def queue(self) -> Queue:
        """The queue's URL, taken apart. Raises `SettingsError` if it is not set or not understood."""
        return parse_queue(self.queue_url)


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(kind: type[SettingsT], **arguments: Any) -> SettingsT:
    """Settings of that kind from arguments that are not None, then the environment. Raises `SettingsError`."""
    check_environment(os.environ)
    check_arguments(arguments)
    try:
        settings = kind(**{name: value for name, value in arguments.items() if value is not None})
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(_told(error)) from error
    tenant = getattr(settings, "tenant", "default")
    if not is_name(tenant):
        raise SettingsError(f"BACKBURNER_TENANT {tenant!r} must match [A-Za-z0-9][A-Za-z0-9._-]{{0,254}}")
    return settings


def _told(error: ValidationError | PydanticSettingsError) -> str:
    if isinstance(error, PydanticSettingsError):
        return f"{error}; correct the variable's value"
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        # Of several settings together; the message names them.
        return message
    name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
    return f"{name} cannot be used: {message}; docs/settings.md says what it takes"


def parse_queue(url: str) -> Queue:
    """Take a queue's URL apart. Raises `SettingsError` that shows the right form."""
    forms = "set BACKBURNER_QUEUE_URL to kafka://host:port,… or sqs://region"
    if not url:
        raise SettingsError(f"no queue is set; {forms}, or run `backburner up` and then `. .backburner/env`")
    parts = urlsplit(url)
    if parts.scheme == QueueKind.KAFKA and parts.netloc:
        servers = tuple(server for server in parts.netloc.split(",") if server)
        if all(re.fullmatch(r".+:\d{1,5}", server) for server in servers):
            return Queue(kind=QueueKind.KAFKA, servers=servers)
    if parts.scheme == QueueKind.SQS and re.fullmatch(r"[a-z0-9-]+", parts.netloc) and parts.path in {"", "/"}:
        asked = parse_qs(parts.query)
        endpoint = asked.pop("endpoint", [None])[0]
        if not asked and (endpoint is None or re.fullmatch(r"https?://[^/\s]+/?", endpoint)):
            return Queue(kind=QueueKind.SQS, region=parts.netloc, endpoint=endpoint)
    raise SettingsError(f"the queue URL {url!r} is not understood; {forms}")
