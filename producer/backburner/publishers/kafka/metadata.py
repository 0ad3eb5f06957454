"""What the brokers know of topics. Here they are looked up and never created; `topics` creates them.

Each broker answers from metadata of its own, which follows the controller's after a moment, and after a longer one on
a busy machine. So one answer of one broker does not prove that a topic is missing.
"""

import asyncio
import random
import time
from collections.abc import Collection, Mapping, Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

TOPIC_SECONDS = 5.0
"""How long a topic that is missing is looked for, on every broker, before it counts as missing."""
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_OK_CODE = 0

Leaders = Mapping[int, int]
"""The leader of each partition of a topic; below 0 where there is none."""


async def missing_topics(client: AIOKafkaClient, topics: Collection[str]) -> list[str]:
    """Those of the topics that no broker knows, however long they were looked for.

    Raises what aiokafka raises, and `TimeoutError`, where no broker answers.
    """
    until = time.monotonic() + TOPIC_SECONDS
    while missing := sorted(set(topics) - await _shown(client, topics)):
        if time.monotonic() >= until:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return missing


async def topics_at(client: AIOKafkaClient, broker: int, names: Sequence[str] | None = None) -> dict[str, Leaders]:
    """What one broker knows of these topics, or of all. Raises as `missing_topics` does."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        answer = await client.send(broker, MetadataRequest(names, allow_auto_topic_creation=False))
    return {
        found["topic"]: {one["partition"]: one["leader"] for one in found["partitions"]}
        for found in answer.to_object()["topics"]
        if found["error_code"] == _OK_CODE
    }


async def _shown(client: AIOKafkaClient, wanted: Collection[str]) -> set[str]:
    """Topics that the brokers show: one is asked after the other, until all that are wanted were seen."""
    shown: set[str] = set()
    heard, silent = False, KafkaError("the cluster reports no broker")
    for broker in brokers_of(client):
        try:
            # Asked for all topics, not for ours: a broker may create what it is asked for by name.
            shown |= (await topics_at(client, broker)).keys()
            heard = True
        except (KafkaError, TimeoutError) as error:
            silent = error
        if shown.issuperset(wanted):
            break
    if not heard:
        raise silent
    return shown


def brokers_of(client: AIOKafkaClient) -> list[int]:
    """The brokers of the cluster in random order, so that not everybody asks the same first."""
    brokers = [broker.nodeId for broker in client.cluster.brokers()]
    return random.sample(brokers, len(brokers))
