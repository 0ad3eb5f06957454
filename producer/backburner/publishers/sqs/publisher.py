"""SQS as the queue: the publisher. Connection and queues are in files of their own and re-exported here.

The client library blocks, so its calls run in threads. It decides nothing about jobs; the caller decides whether and
when to send again after a failure.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from backburner.publishers.base import Message, PublishFailed
from backburner.publishers.sqs.connection import (
    FAILURES,
    is_denied,
    is_lasting,
    is_missing,
    message_of,
    queue_error,
    sqs_client,
    sqs_session,
)
from backburner.publishers.sqs.message import MAX_BYTES, Entry, batches, entry_of
from backburner.publishers.sqs.queues import ensure_queues, find_queues, missing_queue, queue_names
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

__all__ = ["SqsPublisher", "ensure_queues"]

_THREAD_COUNT = 8
"""Batches under way at once: more would only wait for Python's lock."""
_READ_SECONDS = 30.0
_MAX_ATTEMPTS = 5
"""Attempts of one call by the client library, with growing pauses and jitter."""
_FIRST_ATTEMPTS = 2
"""Attempts of the first call: where there is no SQS, that is reported soon."""
_TOO_LARGE = (
    f"a message is over SQS's {MAX_BYTES} bytes; store its body first (the client does), or send less in one request"
)

T = TypeVar("T")


class SqsPublisher:
    """A `Publisher` on SQS: standard queues, with the tenant as message group."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` if the settings cannot lead to SQS."""
        queue_names(settings.prefix, "any")
        self._settings = settings
        self._session = sqs_session(settings)
        self._client: SQSClient | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._urls: dict[str, str] = {}

    async def start(self) -> None:
        """Connect. Raises `QueueError` if SQS does not answer, or refuses this identity."""
        self._client = await asyncio.to_thread(self._connect)
        self._threads = ThreadPoolExecutor(_THREAD_COUNT, thread_name_prefix="sqs-send")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages onto the queue; see the port for what its return and its errors mean."""
        if self._client is None:
            raise QueueError("the publisher is not connected; start it before publishing")
        urls = await self._find({(message.pool, message.lane) for message in messages}, self._client)
        now = time.time()
        lanes: defaultdict[str, list[Entry]] = defaultdict(list)
        for position, message in enumerate(messages):
            name = routing.queue(self._settings.prefix, message.pool, message.lane)
            lanes[name].append(entry_of(position, message, now))
        sending = [
            self._in_thread(self._send, self._client, name, urls[name], batch)
            for name, entries in lanes.items()
            for batch in batches(entries)
        ]
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        failed, cause = list[int](), ""
        too_large = {entry.position for entries in lanes.values() for entry in entries if entry.size > MAX_BYTES}
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            failed += outcome[0]
            cause = cause or outcome[1]
        if failed:
            raise PublishFailed(sorted(failed), cause, too_large)

    def _connect(self) -> "SQSClient":
        """A client, once SQS has answered; whether this queue exists, or may be looked up, does not matter."""
        first, client = (
            sqs_client(
                self._session, self._settings, connections=_THREAD_COUNT, read_seconds=_READ_SECONDS, attempts=attempts
            )
            for attempts in (_FIRST_ATTEMPTS, _MAX_ATTEMPTS)
        )
        try:
            first.get_queue_url(QueueName=routing.queue(self._settings.prefix, "any", Lane.NORMAL))
        except FAILURES as error:
            if not (is_missing(error) or is_denied(error)):
                client.close()
                raise queue_error(self._settings, error) from error
        finally:
            first.close()
        return client

    async def close(self) -> None:
        """Wait for what is under way and disconnect. Safe to call twice, and after a failed start."""
        client, threads, self._client, self._threads = self._client, self._threads, None, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        if client is not None:
            client.close()

    async def _find(self, targets: set[tuple[str, Lane]], client: "SQSClient") -> dict[str, str]:
        """The URLs of these lanes' queues, each asked for once."""
        found: dict[str, str] = {}
        for pool, lane in targets:
            name = routing.queue(self._settings.prefix, pool, lane)
            if (url := self._urls.get(name)) is None:
                queue_names(self._settings.prefix, pool)
                url = (await self._in_thread(find_queues, client, self._settings, [name]))[name]
                self._urls[name] = url
            found[name] = url
        # Not the one that is kept: another publish, which finds a queue gone, removes it there.
        return found

    def _send(self, client: "SQSClient", name: str, url: str, batch: Sequence[Entry]) -> tuple[list[int], str]:
        """Send one batch, in a thread. Returns the positions of what SQS did not accept, and why."""
        if len(batch) == 1 and batch[0].size > MAX_BYTES:
            return [batch[0].position], _TOO_LARGE
        try:
            answer = client.send_message_batch(QueueUrl=url, Entries=[entry.form() for entry in batch])
        except FAILURES as error:
            if is_missing(error):
                self._urls.pop(name, None)
                raise missing_queue(name) from error
            if is_lasting(error):
                raise queue_error(self._settings, error) from error
            return [entry.position for entry in batch], message_of(error)
        taken = {int(each["Id"]) for each in answer.get("Successful", [])}
        # What is named in neither list was not acknowledged either.
        left = [entry.position for entry in batch if entry.position not in taken]
        why = next(
            (f"{each['Code']}: {each.get('Message', '')}" for each in answer.get("Failed", [])), "no reason given"
        )
        return left, why if left else ""

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
