"""What is right and wrong with a Kafka cluster. Pure: it judges facts, and asks nobody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backburner.doctor.finding import Finding, ok, warning, wrong
from backburner.settings.topics import TopicLayout
from backburner_schemas import routing
from backburner_schemas.names import Lane

if TYPE_CHECKING:
    # What this judges comes from there, and only there aiokafka is needed.
    from backburner.publishers.kafka.survey import TopicFacts
DEFAULT_DEADLINE_SECONDS = 24 * 3600.0
"""Of a job that says nothing else: a queue that keeps requests for less loses accepted work."""
_METADATA_BYTES = 4096
_UNLIMITED_COUNT = -1


@dataclass(frozen=True, slots=True)
class Expected:
    """What the settings here ask of the topics."""

    layout: TopicLayout
    message_bytes: int
    """The largest message that anybody may put onto the queue."""


def judge_cluster(brokers: int, settings: Mapping[str, str] | None, layout: TopicLayout) -> Iterator[Finding]:
    """Findings about the brokers, of which there are that many."""
    if brokers < layout.replication:
        yield warning(
            "brokers",
            f"{brokers} broker(s), and BACKBURNER_TOPIC_REPLICATION is {layout.replication}",
            f"add brokers, or set it to {brokers}: `topics ensure` cannot make topics so",
        )
    else:
        yield ok("brokers", f"{brokers} broker(s) answer")
    if settings is None:
        yield warning(
            "broker settings",
            "this user may not read them, so they are not judged",
            "grant it DescribeConfigs on the cluster to have them judged",
        )
        return
    if settings.get("auto.create.topics.enable") == "true":
        yield warning(
            "broker settings",
            "auto.create.topics.enable is on: a misspelt pool would get topics that nobody reads",
            "turn it off",
        )
    stored = _number(settings, "offset.metadata.max.bytes")
    if stored is not None and stored < _METADATA_BYTES:
        yield warning(
            "broker settings",
            f"offset.metadata.max.bytes is {stored}: finished work runs again after a crash",
            f"raise it to {_METADATA_BYTES}, Kafka's default",
        )


def judge_topic(name: str, lane: Lane, state: "TopicFacts | None", expected: Expected, model: str) -> Iterator[Finding]:
    """Findings about the topic of a lane; `state` is None where there is none."""
    if state is None:
        yield wrong(
            name,
            "does not exist, or this user may not see it",
            f"run `backburner topics ensure --pool {model}`, or grant Describe",
        )
        return
    found = [*_judge_replicas(name, state), *_judge_settings(name, lane, state.settings, expected)]
    yield from found
    if not found:
        yield ok(name, f"{state.partitions} partitions, {state.replicas} replica(s)")


def _judge_replicas(name: str, state: "TopicFacts") -> Iterator[Finding]:
    if state.leaderless:
        yield wrong(name, f"{state.leaderless} partition(s) have no leader", "bring their brokers back")
    needed = _number(state.settings or {}, "min.insync.replicas")
    if needed is not None and state.replicas < needed:
        yield wrong(
            name,
            f"{state.replicas} replica(s), and min.insync.replicas is {needed}: nothing can be published",
            "add replicas, or lower it",
        )
    elif needed is not None and state.in_sync < needed:
        yield wrong(
            name,
            f"{state.in_sync} of {state.replicas} replicas are in sync, and {needed} have to be to publish",
            "bring brokers back",
        )
    elif state.in_sync < state.replicas:
        yield warning(name, f"{state.in_sync} of {state.replicas} replicas are in sync", "look at the brokers")
    elif state.replicas > 1 and needed == state.replicas:
        yield warning(
            name,
            f"min.insync.replicas is {needed}, as many as there are replicas: no broker may restart",
            f"set it to {needed - 1}",
        )


def _judge_settings(name: str, lane: Lane, settings: Mapping[str, str] | None, expected: Expected) -> Iterator[Finding]:
    if settings is None:
        yield warning(
            name, "this user may not read its settings, so they are not judged", "grant DescribeConfigs on the topic"
        )
        return
    if "compact" in settings.get("cleanup.policy", ""):
        yield wrong(
            name,
            "cleanup.policy is compact: Kafka deletes requests that share a key with later ones",
            "set it to delete",
        )
    yield from _judge_retention(name, settings, expected.layout)
    largest = _number(settings, "max.message.bytes")
    if largest is not None and largest < expected.message_bytes:
        yield warning(
            name,
            f"max.message.bytes is {largest:,}: larger requests of producers without the SDK are refused, those of the "
            "SDK travel by an object in the store",
            f"raise it to {expected.message_bytes:,}, or set BACKBURNER_MAX_BODY_BYTES to what your requests need",
        )
    if lane is Lane.RETRY and settings.get("message.timestamp.type") == "CreateTime":
        yield warning(
            name,
            "message.timestamp.type is CreateTime: ages of what is retried go by the clocks of workers",
            "set it to LogAppendTime",
        )


def _judge_retention(name: str, settings: Mapping[str, str], layout: TopicLayout) -> Iterator[Finding]:
    kept, most = _number(settings, "retention.ms"), _number(settings, "retention.bytes")
    if kept is not None and kept != _UNLIMITED_COUNT:
        seconds = kept / 1000
        message = f"requests are kept for {seconds:,.0f} s (retention.ms)"
        if seconds < DEFAULT_DEADLINE_SECONDS:
            remedy = f"raise it to {layout.retention_seconds * 1000:.0f}"
            yield wrong(name, f"{message}, and a job has {DEFAULT_DEADLINE_SECONDS:,.0f} s", remedy)
        elif seconds < layout.retention_seconds:
            yield warning(
                name,
                f"{message}, less than BACKBURNER_TOPIC_RETENTION_SECONDS, {layout.retention_seconds:,.0f}",
                "raise it, or give no job a longer deadline",
            )
    if most is not None and most != _UNLIMITED_COUNT:
        yield wrong(
            name,
            f"retention.bytes is {most:,} a partition: a backlog above it is deleted unread",
            "set it to -1, and bound the backlog by disks and quotas",
        )


def judge_rights(prefix: str, pool: str, lacking: frozenset[str]) -> Iterator[Finding]:
    """Findings about what this user may do, by the rights that it lacks, as the broker tells them."""
    topics, group = routing.topics(prefix, pool), routing.group(prefix, pool)
    retry = next(name for name, lane in topics.items() if lane is Lane.RETRY)
    lanes = [name for name, lane in topics.items() if lane is not Lane.RETRY]
    subject = f"rights in {pool}"
    reads = not any(f"Read on {name}" in lacking for name in topics)
    writes = not any(f"Write on {name}" in lacking for name in lanes)
    retries = f"Write on {retry}" not in lacking
    joins = f"Read on the group {group}" not in lacking
    if not reads and not writes:
        yield wrong(
            subject,
            f"this user may neither publish nor work: it lacks {_first(lacking)}",
            "grant the rights in docs/kafka.md",
        )
    elif reads and not (joins and retries):
        missing = f"Read on the group {group}" if not joins else f"Write on {retry}"
        yield wrong(subject, f"this user may read the lanes and cannot work: it lacks {missing}", "grant it")
    elif not reads and retries:
        yield warning(
            subject,
            f"this user does not work here and may write {retry}, where what a message says of itself is believed",
            "take that right away",
        )
    else:
        yield ok(subject, "this user may " + " and ".join([*["work"][:reads], *["publish"][:writes]]))


def _first(lacking: frozenset[str]) -> str:
    shown = sorted(lacking)
    return shown[0] if len(shown) == 1 else f"{shown[0]} and {len(shown) - 1} more"


def _number(settings: Mapping[str, str], name: str) -> int | None:
    try:
        return int(settings[name])
    except (KeyError, ValueError):
        return None
