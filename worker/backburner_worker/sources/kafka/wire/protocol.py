"""Requests of Kafka's protocol that the client library lacks, as classes that it can send. Nothing is decided here.

They tell which log a partition is: a topic's id, the ends of a log with the leader's epoch, and where an epoch ended.
"""

from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

_UUID_BYTES = 16
_CONSUMER_ID = -1
"""Who asks: no replica."""
_ANY_EPOCH_ID = -1
"""The leader is asked whatever its epoch is."""
_ALL_RECORDS_MODE = 0
"""Ends as the log has them, also while a transaction is open."""

EARLIEST_OFFSET, LATEST_OFFSET = -2, -1
"""What may be asked of a log's ends."""


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka has no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_UUID_BYTES)


# --- metadata with topic ids: Kafka 2.8 and later ---


class _TopicIdsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicIdsRequest(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIds(Request[_TopicIdsRequest]):  # type: ignore[misc]  # aiokafka has no types
    """The ids of topics. A broker without them cannot be asked: aiokafka raises `NotImplementedError`."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicIdsRequest]) -> _TopicIdsRequest:
        """The request on the wire."""
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(bytes(_UUID_BYTES), topic, {}) for topic in self._topics]
        return request_struct_class(topics, False, False, False, {})  # noqa: FBT003 - the fields have their names above


# --- the ends of logs, with the leader's epoch: Kafka 2.1 and later ---


class _EndsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 2
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("timestamp", Int64),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class _EndsRequest(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 2
    API_VERSION = 4
    RESPONSE_TYPE = _EndsResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("isolation_level", Int8),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("current_leader_epoch", Int32), ("timestamp", Int64)),
                ),
            ),
        ),
    )


class Ends(Request[_EndsRequest]):  # type: ignore[misc]  # aiokafka has no types
    """Where logs begin (`EARLIEST_OFFSET`) or end (`LATEST_OFFSET`), of their leader, with its epoch."""

    API_KEY = 2

    def __init__(self, which: int, partitions: dict[str, list[int]]) -> None:
        self._which = which
        self._partitions = partitions

    def build(self, request_struct_class: type[_EndsRequest]) -> _EndsRequest:
        """The request on the wire."""
        topics = [
            (topic, [(number, _ANY_EPOCH_ID, self._which) for number in numbers])
            for topic, numbers in self._partitions.items()
        ]
        return request_struct_class(_CONSUMER_ID, _ALL_RECORDS_MODE, topics)


# --- where a leader epoch ended: Kafka 2.3 and later ---


class _EpochEndsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


class _EpochEndsRequest(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = _EpochEndsResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)),
                ),
            ),
        ),
    )


class EpochEnds(Request[_EpochEndsRequest]):  # type: ignore[misc]  # aiokafka has no types
    """Where what was written in a leader epoch, or before it, ends in the leader's log now."""

    API_KEY = 23

    def __init__(self, epochs: dict[str, list[tuple[int, int]]]) -> None:
        """`epochs`: partition and epoch, by topic."""
        self._epochs = epochs

    def build(self, request_struct_class: type[_EpochEndsRequest]) -> _EpochEndsRequest:
        """The request on the wire."""
        topics = [
            (topic, [(number, _ANY_EPOCH_ID, epoch) for number, epoch in epochs])
            for topic, epochs in self._epochs.items()
        ]
        return request_struct_class(_CONSUMER_ID, topics)


def rows(response: Any) -> list[tuple[str, dict[str, Any]]]:
    """What a response reports of each partition, with its topic."""
    return [(topic["topic"], found) for topic in response.to_object()["topics"] for found in topic["partitions"]]
