"""Moves leaders of topics to other brokers, as an operator does: first another order of replicas, then an election.

By aiokafka's admin client alone, which can send the first of the two; the second's form is below.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from chaos.patience import until

GROUPS_TOPIC = "__consumer_offsets"
"""Whose leaders are the groups' coordinators."""

_CALL_MS = 30_000
_PREFERRED_CODE = 0
_HARMLESS = frozenset({0, 80, 84})
"""No error, `PREFERRED_LEADER_NOT_AVAILABLE` as of a replica that is not in sync yet, and `ELECTION_NOT_NEEDED`."""
_ELECTION_SECONDS = 60.0
"""As long as a broker that was away may need until its replicas are in sync."""


class _ElectLeadersResponse(Response):  # type: ignore[misc]
    API_KEY = 43
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("error_code", Int16), ("error_message", String("utf-8"))),
                ),
            ),
        ),
    )


class _ElectLeadersStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 43
    API_VERSION = 1
    RESPONSE_TYPE = _ElectLeadersResponse
    SCHEMA = Schema(
        ("election_type", Int8),
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )


class _ElectLeadersRequest(Request[_ElectLeadersStruct]):  # type: ignore[misc]
    API_KEY = 43

    def __init__(self, topics: list[tuple[str, list[int]]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(_PREFERRED_CODE, self._topics, _CALL_MS)


async def move_leaders(bootstrap: str, topics: Sequence[str]) -> None:
    """Let each partition of the topics have another of its replicas as its leader, if that one is in sync.

    Tried again until at least one was elected: no replica may be in sync yet, or the broker that was asked for the
    leaders did not know the newest. Raises `NeverCame`, and `RuntimeError` where no partition has another replica, or
    with what the cluster refused.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_CALL_MS)
    await admin.start()
    try:
        what = f"an election of other leaders of {', '.join(topics)}"
        await until(partial(_elect, admin, topics), what, seconds=_ELECTION_SECONDS)
    finally:
        await admin.close()


async def _elect(admin: Any, topics: Sequence[str]) -> int:
    """How many elections were held."""
    found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(topics))}
    counts = {len(one["replicas"]) for partitions in found.values() for one in partitions}
    if counts == {1}:
        raise RuntimeError(f"leaders cannot move: no partition of {', '.join(topics)} has another replica")
    orders = {
        topic: {
            one["partition"]: [*(replica for replica in one["replicas"] if replica != one["leader"]), one["leader"]]
            for one in partitions
            if one["leader"] in one["replicas"]
        }
        for topic, partitions in found.items()
    }
    wanted: list[Any] = [(topic, [(at, to, {}) for at, to in order.items()], {}) for topic, order in orders.items()]
    await _send(admin, AlterPartitionReassignmentsRequest(_CALL_MS, wanted, {}))
    return await _send(admin, _ElectLeadersRequest([(topic, list(order)) for topic, order in orders.items()]))


async def _send(admin: Any, request: Any) -> int:
    """Of how many partitions the answer tells no error."""
    answer = await admin._send_to_controller(request)  # noqa: SLF001 - it has no method for either call
    results = getattr(answer, "results", None) or getattr(answer, "responses", None) or []
    codes = [one[1] for _, partitions, *_ in results for one in partitions]
    refused = [code for code in (answer.error_code, *codes) if code not in _HARMLESS]
    if refused:
        raise RuntimeError(f"{type(request).__name__} was refused with the codes {sorted(set(refused))}")
    return codes.count(0)
