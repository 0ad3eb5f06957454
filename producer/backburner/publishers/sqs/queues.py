"""The SQS queues of a pool: created here, and only here; publishing never creates one."""

import asyncio
import json
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from backburner.logs import get_logger
from backburner.publishers.sqs.connection import (
    FAILURES,
    code_of,
    is_missing,
    message_of,
    queue_error,
    sqs_client,
    sqs_session,
)
from backburner.publishers.sqs.message import MAX_BYTES
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueError, SettingsError
from backburner_schemas.names import Lane

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

log = get_logger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MAX_NAME_CHARACTERS = 80
_RETENTION_SECONDS = (60, 14 * 24 * 3600)
"""Seconds that SQS can keep a message: at least, at most."""
_VISIBILITY_SECONDS = 120
"""The queue's own default, for those who read it by hand; workers pass their own with each call."""
_CREATION_SECONDS = 90.0
"""How long a new queue may take to be listed: a minute according to SQS."""
_POLL_SECONDS = 0.5
_EXISTS = frozenset({"QueueAlreadyExists", "QueueNameExists"})
_DELETED_RECENTLY = frozenset({"AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"})


def queue_names(prefix: str, pool: str) -> dict[str, Lane]:
    """Every queue of a pool with its lane. Raises `SettingsError` if SQS does not accept such names."""
    names = routing.queues(prefix, pool)
    for name in names:
        if "." in name:
            raise SettingsError(
                f"SQS allows no dots in a queue's name ({name}); set BACKBURNER_PREFIX to letters, digits, '_' and '-'"
            )
        if not _NAME.fullmatch(name):
            room = len(prefix) - max(len(each) for each in names) + _MAX_NAME_CHARACTERS
            raise SettingsError(
                f"SQS allows at most {_MAX_NAME_CHARACTERS} characters in a queue's name ({name}); set "
                f"BACKBURNER_PREFIX to at most {room} for this pool"
            )
    return names


async def ensure_queues(settings: Settings, pool: str) -> list[str]:
    """Create the queues of the pool's lanes that do not exist yet. Returns the names of all of them.

    Returns when SQS shows them all. Queues that exist are left as they are, with a line in the log. Raises
    `SettingsError` for what SQS does not offer, and `QueueError`, also for a queue whose redrive policy would move
    messages away without a record.
    """
    names = queue_names(settings.prefix, pool)
    seconds = int(settings.topic_layout.retention_seconds)
    least, most = _RETENTION_SECONDS
    if not least <= seconds <= most:
        raise SettingsError(
            f"SQS keeps messages for {least} to {most} seconds and BACKBURNER_TOPIC_RETENTION_SECONDS is {seconds}; "
            "set it within that range, above your longest deadline"
        )
    return await asyncio.to_thread(_ensure, settings, pool, list(names), seconds)


def find_queues(client: "SQSClient", settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """The URL of each queue. Blocks. Raises `QueueError`, which names the remedy where a queue is missing."""
    try:
        urls = {name: _url(client, name) for name in names}
    except FAILURES as error:
        raise queue_error(settings, error) from error
    for name, url in urls.items():
        if url is None:
            raise missing_queue(name)
    return {name: url for name, url in urls.items() if url is not None}


def missing_queue(name: str) -> QueueError:
    """The error for a queue that is not there."""
    return QueueError(
        f"the queue {name} does not exist; create the pool's queues with `backburner topics ensure --pool MODEL`"
    )


def redrive_policy(client: "SQSClient", url: str) -> str | None:
    """The queue's redrive policy, where there is one. Blocks. Raises what the client raises."""
    return _attributes(client, url).get("RedrivePolicy")


async def survey(settings: Settings, names: Iterable[str]) -> dict[str, dict[str, str] | None]:
    """The attributes of each queue, in SQS's own names; None where there is no such queue. Raises `QueueError`."""
    return await asyncio.to_thread(_survey, settings, list(names))


def _survey(settings: Settings, names: list[str]) -> dict[str, dict[str, str] | None]:
    client = sqs_client(sqs_session(settings), settings, connections=1, read_seconds=10.0, attempts=2)
    try:
        urls = {name: _url(client, name) for name in names}
        return {name: None if url is None else _attributes(client, url) for name, url in urls.items()}
    except FAILURES as error:
        raise queue_error(settings, error) from error
    finally:
        client.close()


def _ensure(settings: Settings, pool: str, names: list[str], retention: int) -> list[str]:
    client = sqs_client(sqs_session(settings), settings, connections=1, read_seconds=30.0, attempts=5)
    try:
        found = {name: _url(client, name) for name in names}
        for name, url in found.items():
            if url is not None:
                _look_at(name, _attributes(client, url), retention)
        missing = [name for name, url in found.items() if url is None]
        for name in missing:
            _make(client, name, retention)
        _wait_until_seen(client, missing)
    except FAILURES as error:
        if code_of(error) in _DELETED_RECENTLY:
            raise QueueError(f"{message_of(error)}; try again in a minute") from error
        raise queue_error(settings, error) from error
    finally:
        client.close()
    if missing:
        log.info("queues created", pool=pool, queues=missing)
    return names


def _make(client: "SQSClient", name: str, retention: int) -> None:
    try:
        client.create_queue(
            QueueName=name,
            Attributes={
                "VisibilityTimeout": str(_VISIBILITY_SECONDS),
                "MessageRetentionPeriod": str(retention),
                "MaximumMessageSize": str(MAX_BYTES),
            },
        )
    except FAILURES as error:
        if code_of(error) not in _EXISTS:
            raise
        # Another process created it meanwhile.
        log.info("queue exists; leaving it as it is", queue=name)


def _wait_until_seen(client: "SQSClient", names: Iterable[str]) -> None:
    """Whoever uses the queues next would be asked to create them, if SQS did not list them yet."""
    until = time.monotonic() + _CREATION_SECONDS
    while unseen := [name for name in names if _url(client, name) is None]:
        if time.monotonic() >= until:
            raise QueueError(
                f"SQS accepted the queues and does not list them after {_CREATION_SECONDS:.0f} s: {', '.join(unseen)}; "
                "check them in AWS's console, then run the same again"
            )
        time.sleep(_POLL_SECONDS)


def _look_at(name: str, attributes: dict[str, str], retention: int) -> None:
    """Log what a queue that exists is like. Raises `QueueError` for one that could lose messages."""
    if policy := attributes.get("RedrivePolicy"):
        raise QueueError(
            f"the queue {name} has a redrive policy ({_brief(policy)}), which would move requests away without a "
            f"record, though Backburner writes dead letters of its own; remove it with "
            "`aws sqs set-queue-attributes --queue-url … --attributes RedrivePolicy=`"
        )
    kept, largest = int(attributes["MessageRetentionPeriod"]), int(attributes["MaximumMessageSize"])
    log.info("queue exists; leaving it as it is", queue=name, retention_seconds=kept, message_bytes=largest)
    if kept < retention:
        log.warning(
            "queue keeps messages for less than BACKBURNER_TOPIC_RETENTION_SECONDS; leaving it",
            queue=name,
            seconds=kept,
        )
    if largest < MAX_BYTES:
        log.warning("queue refuses large messages; set its MaximumMessageSize to 1048576", queue=name)


def _url(client: "SQSClient", name: str) -> str | None:
    try:
        return client.get_queue_url(QueueName=name)["QueueUrl"]
    except FAILURES as error:
        if is_missing(error):
            return None
        raise


def _attributes(client: "SQSClient", url: str) -> dict[str, str]:
    found = client.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=[
            "RedrivePolicy",
            "MaximumMessageSize",
            "MessageRetentionPeriod",
            "VisibilityTimeout",
            "DelaySeconds",
        ],
    )
    return {str(name): value for name, value in found.get("Attributes", {}).items()}


def _brief(policy: str) -> str:
    try:
        return f"to {json.loads(policy)['deadLetterTargetArn'].rpartition(':')[2]}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return policy[:80]
