"""The harness on SQS: the emulator `ministack`, or AWS as an outside queue."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backburner.publishers import ensure_topics
from backburner.publishers.sqs.connection import sqs_client, sqs_session
from backburner.publishers.sqs.message import MAX_BYTES
from backburner.publishers.sqs.queues import find_queues, queue_names
from backburner_schemas import routing
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, Source
from queues.harness import QueueHarness, nothing

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass
class SqsHarness(QueueHarness):
    """A pool's queues and members, and a client of AWS's own beside them."""

    urls: dict[str, str] = field(default_factory=dict)

    async def prepare(self) -> None:
        await ensure_topics(self.settings, self.name)
        self.client = sqs_client(
            sqs_session(self.settings), self.settings, connections=4, read_seconds=30.0, attempts=3
        )
        self.members.callback(self.client.close)
        names = queue_names(self.settings.prefix, self.name)
        self.urls = await asyncio.to_thread(find_queues, self.client, self.settings, names)

    @property
    def lends(self) -> float:
        return float(self.settings.sqs_visibility_seconds)

    @property
    def limit(self) -> int:
        return MAX_BYTES

    @property
    def largest_body(self) -> int:
        return MAX_BYTES

    def url_at(self, port: int) -> str:
        return f"sqs://us-east-1?endpoint=http://127.0.0.1:{port}"

    async def call(self, what: Callable[..., Any], **arguments: Any) -> Any:
        return await asyncio.to_thread(what, **arguments)

    async def send(
        self,
        value: bytes | None,
        *,
        lane: Lane = Lane.NORMAL,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        url = self.urls[routing.queue(self.settings.prefix, self.name, lane)]
        attributes = {
            name: {"DataType": "String", "StringValue": text.decode("latin-1")} for name, text in headers if text
        }
        sent = await self.call(
            self.client.send_message, QueueUrl=url, MessageBody=(value or b"").decode(), MessageAttributes=attributes
        )
        return str(sent["MessageId"])

    async def left(self) -> int:
        count = 0
        for url in self.urls.values():
            found = await self.call(self.client.get_queue_attributes, QueueUrl=url, AttributeNames=list(_COUNTS))
            count += sum(int(found["Attributes"][name]) for name in _COUNTS)
        return count

    async def take_away(self, member: Source, held: Sequence[Delivery]) -> Source:
        """What it was lent is called in, as if its time had run out."""
        one = held[0].token.received  # type: ignore[attr-defined]
        url = self.urls[one.queue]
        second = self.source()
        await second.start(nothing)
        await self.call(
            self.client.change_message_visibility, QueueUrl=url, ReceiptHandle=one.handle, VisibilityTimeout=0
        )
        return second

    async def names(self) -> set[str]:
        found = await self.call(self.client.list_queues, QueueNamePrefix=self.settings.prefix + "-")
        return {url.rpartition("/")[2] for url in found.get("QueueUrls", [])}

    async def delete(self) -> None:
        for url in self.urls.values():
            await self.call(self.client.delete_queue, QueueUrl=url)
