"""SQS's calls for the source, each awaited while a thread makes it. It keeps no state of messages and decides nothing.

A call that waits for messages cannot be cancelled: a thread that nobody waits for would still receive some. So such
calls have threads of their own, and never keep an extension or a deletion waiting.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from backburner.logs import get_logger
from backburner.publishers.sqs.connection import FAILURES, queue_error, sqs_client, sqs_session
from backburner.publishers.sqs.message import Entry
from backburner.publishers.sqs.queues import find_queues, queue_names, redrive_policy
from backburner.settings import Settings
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.sqs.intake import MAX_POLLS
from backburner_worker.sources.sqs.message import FACTS, Received

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef

MAX_BATCH_MESSAGES = 10
_CONTROL_THREAD_COUNT = 8
_DELETION_THREAD_COUNT = 4
"""Of these, for deletions: the others are left to extensions."""
_CALL_SECONDS = 10.0
_MAX_ATTEMPTS = 3
_STALL_SECONDS = 2.0
"""A wait that took so much longer than asked shows that this process stood still meanwhile."""

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Poll:
    """What one receive call returned."""

    messages: list[Received]
    begun: float
    """Monotonic time from which on SQS keeps these messages invisible, or a little before."""


class SqsCalls:
    """Calls on the queues of one pool. All but `open` and `close` raise what `sqs_connect.FAILURES` lists."""

    def __init__(self, settings: Settings, queues: dict[str, Lane], *, wait: int, visibility: int) -> None:
        """Raises `SettingsError` if the settings cannot lead to SQS."""
        self._settings = settings
        self._session = sqs_session(settings)
        self._queues = {lane: name for name, lane in queues.items()}
        self._wait = wait
        self._visibility = visibility
        self._urls: dict[Lane, str] = {}
        self._clients: tuple[SQSClient, SQSClient] | None = None
        self._polling = ThreadPoolExecutor(len(queues) * MAX_POLLS, thread_name_prefix="sqs-poll")
        self._control = ThreadPoolExecutor(_CONTROL_THREAD_COUNT, thread_name_prefix="sqs-control")
        self._deleting = asyncio.Semaphore(_DELETION_THREAD_COUNT)

    async def open(self) -> dict[Lane, str]:
        """Find the queues; the redrive policies of those that have one. Raises `QueueError`."""
        return await self._call(self._control, self._open)

    async def close(self) -> None:
        """Leave; threads that still wait for messages end by themselves."""
        self._polling.shutdown(wait=False, cancel_futures=True)
        self._control.shutdown(wait=False, cancel_futures=True)
        for client in self._clients or ():
            client.close()

    async def receive(self, lane: Lane, size: int) -> Poll:
        """Up to so many messages, as soon as there are any; none after the wait."""
        return await self._call(self._polling, self._receive, lane, size)

    async def extend(self, lane: Lane, handles: Sequence[str], seconds: Sequence[int]) -> dict[str, str]:
        """Keep these receipts invisible for so long from now. Returns the codes of those refused, by handle."""
        return await self._call(self._control, self._change, lane, handles, seconds)

    async def delete(self, lane: Lane, handles: Sequence[str]) -> dict[str, str]:
        """Delete by these receipts. Returns the codes of those that SQS refused, by handle."""
        async with self._deleting:
            return await self._call(self._control, self._delete, lane, handles)

    async def send(self, lane: Lane, entries: Sequence[Entry]) -> set[int]:
        """Put a batch onto the lane's queue. Returns the positions of those that SQS accepted."""
        return await self._call(self._control, self._send, lane, entries)

    async def waiting(self, lane: Lane) -> int:
        """Messages on the lane's queue, held and delayed ones included; about."""
        return await self._call(self._control, self._count, lane)

    # --- in threads ---

    def _open(self) -> dict[Lane, str]:
        polling, control = (
            sqs_client(self._session, self._settings, connections=threads, read_seconds=seconds, attempts=attempts)
            for threads, seconds, attempts in (
                (len(self._queues) * MAX_POLLS, self._wait + _CALL_SECONDS, 1),
                (_CONTROL_THREAD_COUNT, _CALL_SECONDS, _MAX_ATTEMPTS),
            )
        )
        self._clients = (polling, control)
        found = find_queues(control, self._settings, self._queues.values())
        self._urls = {lane: found[name] for lane, name in self._queues.items()}
        try:
            policies = {lane: redrive_policy(control, url) for lane, url in self._urls.items()}
        except FAILURES as error:
            raise queue_error(self._settings, error) from error
        return {lane: policy for lane, policy in policies.items() if policy}

    def _receive(self, lane: Lane, size: int) -> Poll:
        began = time.monotonic()
        answer = self._open_clients()[0].receive_message(
            QueueUrl=self._urls[lane],
            MaxNumberOfMessages=size,
            WaitTimeSeconds=self._wait,
            VisibilityTimeout=self._visibility,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            MessageAttributeNames=list(FACTS),
        )
        # Read here and not on the event loop, which may be late.
        begun = min(time.monotonic(), began + self._wait + _STALL_SECONDS)
        queue = self._queues[lane]
        return Poll([Received.of(message, lane, queue) for message in answer.get("Messages", [])], begun)

    def _change(self, lane: Lane, handles: Sequence[str], seconds: Sequence[int]) -> dict[str, str]:
        answer = self._open_clients()[1].change_message_visibility_batch(
            QueueUrl=self._urls[lane],
            Entries=[
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": wanted}
                for number, (handle, wanted) in enumerate(zip(handles, seconds, strict=True))
            ],
        )
        return _refused(handles, answer.get("Failed", []))

    def _delete(self, lane: Lane, handles: Sequence[str]) -> dict[str, str]:
        answer = self._open_clients()[1].delete_message_batch(
            QueueUrl=self._urls[lane],
            Entries=[{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)],
        )
        return _refused(handles, answer.get("Failed", []))

    def _send(self, lane: Lane, entries: Sequence[Entry]) -> set[int]:
        answer = self._open_clients()[1].send_message_batch(
            QueueUrl=self._urls[lane], Entries=[entry.form() for entry in entries]
        )
        return {int(each["Id"]) for each in answer.get("Successful", [])}

    def _count(self, lane: Lane) -> int:
        answer = self._open_clients()[1].get_queue_attributes(
            QueueUrl=self._urls[lane],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )
        return sum(int(count) for count in answer.get("Attributes", {}).values())

    def _open_clients(self) -> "tuple[SQSClient, SQSClient]":
        assert self._clients is not None, "open comes first"
        return self._clients

    async def _call(self, threads: ThreadPoolExecutor, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, call, *arguments)


def _refused(handles: Sequence[str], failed: "Sequence[BatchResultErrorEntryTypeDef]") -> dict[str, str]:
    return {handles[int(each["Id"])]: each["Code"] for each in failed}


def check_queues(settings: Settings, pool: str) -> None:
    """Raise `QueueError` if any of the pool's queues is missing. Blocks for seconds at most.

    Where SQS does not answer, or refuses this worker, that is only logged: the source tries again.
    """
    client = sqs_client(sqs_session(settings), settings, connections=1, read_seconds=_CALL_SECONDS, attempts=1)
    try:
        find_queues(client, settings, queue_names(settings.prefix, pool))
    except QueueError as error:
        if error.__cause__ is None:
            raise
        log.warning("SQS does not answer yet; connecting again once the model is loaded", error=error.message)
    finally:
        client.close()
