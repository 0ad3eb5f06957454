"""Sends raw batches to a broker, and takes its word on each. By aiokafka's client alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import CorruptRecordException, InvalidTimestampError, KafkaError, NoError, for_code
from aiokafka.protocol.produce import ProduceRequest

_TIMEOUT_MS = 20_000
_RETRY_SECONDS = 0.2
_OF_THE_BATCH = (CorruptRecordException, InvalidTimestampError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker made of one batch."""

    offset: int | None
    """Where the batch begins; None if it was refused."""
    error: str = ""
    stamped: bool = False
    """Whether the broker gave its records a time of its own."""
    doubtful: bool = False
    """Whether the broker said nothing: it may have taken the batch all the same."""


class BatchWire:
    """One connection for producing to a topic, a batch a partition at a time."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def send(self, batches: Sequence[tuple[int, bytes]]) -> list[Answer]:
        """Send these, each to a partition of its own; what the broker answers for each.

        A broker that closes the connection instead says nothing of any of them: send such batches alone.
        """
        client = await self._connected()
        request = ProduceRequest(None, -1, _TIMEOUT_MS, [(self._topic, [*batches])])
        try:
            response = await client.send(self._node(client), request)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            return [Answer(None, type(error).__name__, doubtful=True)] * len(batches)
        found = {part[0]: part for _, parts in response.topics for part in parts}
        answers, again = dict[int, Answer](), list[tuple[int, bytes]]()
        for partition, data in batches:
            said = for_code(found[partition][1])
            if said is NoError:
                answers[partition] = Answer(found[partition][2], stamped=found[partition][3] >= 0)
            elif said.retriable and said not in _OF_THE_BATCH:
                again.append((partition, data))
            else:
                answers[partition] = Answer(None, said.__name__)
        if again:
            # The topic is new, and this broker does not know it yet.
            await asyncio.sleep(_RETRY_SECONDS)
            answers |= zip((partition for partition, _ in again), await self.send(again), strict=True)
        return [answers[partition] for partition, _ in batches]

    async def _connected(self) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(bootstrap_servers=self._bootstrap, request_timeout_ms=_TIMEOUT_MS)
                await client.bootstrap()
                await client.set_topics([self._topic])
                self._client = client
            return self._client

    def _node(self, client: AIOKafkaClient) -> int:
        (broker,) = client.cluster.brokers()
        return int(broker.nodeId)
