"""A queue's URL, taken apart. Connects to nothing."""

import re
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict

from backburner.settings.addresses import check_no_user, shown
from backburner_schemas.errors import SettingsError

_ENDPOINT = re.compile(r"https?://(?:\[[0-9a-fA-F:.]+\]|[^/\s:@]+)(?::\d{1,5})?/?")
_USERS = (
    "take it out, and set BACKBURNER_KAFKA_SECURITY_USERNAME and …_PASSWORD for Kafka, AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY for SQS"
)


class QueueKind(StrEnum):
    """The queues that requests travel on."""

    KAFKA = "kafka"
    """`kafka://host:port,host:port`"""
    SQS = "sqs"
    """`sqs://region`, and `?endpoint=http://…` for a server that is not AWS's"""


class Queue(BaseModel):
    """A queue's URL, taken apart."""

    model_config = ConfigDict(frozen=True)

    kind: QueueKind
    servers: tuple[str, ...] = ()
    """Kafka's bootstrap servers, `host:port`."""
    region: str | None = None
    """AWS's region of the SQS queues."""
    endpoint: str | None = None
    """Address of SQS where it is not the region's own."""


@lru_cache(maxsize=16)
def parse_queue(url: str) -> Queue:
    """Take a queue's URL apart. Raises `SettingsError` that shows the right form."""
    forms = "set BACKBURNER_QUEUE_URL to kafka://host:port,… or sqs://region"
    if not url:
        raise SettingsError(f"no queue is set; {forms}, or run `backburner up` and then `. .backburner/env`")
    check_no_user("BACKBURNER_QUEUE_URL", url, _USERS)
    try:
        parts = urlsplit(url)
    except ValueError as error:  # A port or an address that is none.
        raise SettingsError(f"the queue URL {shown(url)!r} is not understood; {forms}") from error
    if parts.scheme == QueueKind.KAFKA and parts.netloc:
        servers = tuple(server for server in parts.netloc.split(",") if server)
        if all(re.fullmatch(r".+:\d{1,5}", server) for server in servers):
            return Queue(kind=QueueKind.KAFKA, servers=servers)
    if parts.scheme == QueueKind.SQS and re.fullmatch(r"[a-z0-9-]+", parts.netloc) and parts.path in {"", "/"}:
        asked = parse_qs(parts.query)
        endpoint = asked.pop("endpoint", [None])[0]
        check_no_user("BACKBURNER_QUEUE_URL: endpoint", endpoint or "", _USERS)
        if not asked and (endpoint is None or _ENDPOINT.fullmatch(endpoint)):
            return Queue(kind=QueueKind.SQS, region=parts.netloc, endpoint=endpoint)
    raise SettingsError(f"the queue URL {shown(url)!r} is not understood; {forms}")
