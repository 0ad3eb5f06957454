"""Reads a pool's SQS queues by boto3 alone, for the checker: they are done when they are empty.

SQS forgets what was deleted, so what was sent is known from the senders' receipts alone.
"""

import asyncio
from typing import Any

from chaos.kafka_state import LANES
from chaos.queue_state import QueueState
from chaos.sqs_client import SqsAddress, connect

_PAUSE_SECONDS = 0.5
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


async def look(address: SqsAddress, prefix: str, pool: str, *, seconds: float) -> QueueState:
    """The queues' state; waits up to that long for the last deletes."""
    client = connect(address)
    queues = [f"{prefix}-{pool}-{lane}" for lane in LANES]
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        held = await asyncio.to_thread(_held, client, queues)
        if not held or asyncio.get_running_loop().time() > deadline:
            return QueueState([f"queue: {name} still holds {count} messages" for name, count in held.items()])
        await asyncio.sleep(_PAUSE_SECONDS)


def _held(client: Any, queues: list[str]) -> dict[str, int]:
    found = {}
    for name in queues:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
        if count := sum(int(attributes.get(one, 0)) for one in _COUNTS):
            found[name] = count
    return found
