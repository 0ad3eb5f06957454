"""Looks at the queue of some pools, whichever kind it is, and has judged what it saw."""

from collections.abc import AsyncGenerator, Sequence

from backburner.doctor import kafka, sqs
from backburner.doctor.finding import Finding, ok, warning
from backburner.pools import PoolStatus
from backburner.publishers import check_queue
from backburner.settings import QueueKind, Settings
from backburner_schemas import routing
from backburner_schemas.names import Lane
from backburner_schemas.request import ENVELOPE_BYTES

_PROBE_GROUP = "doctor"


async def examine_queue(settings: Settings, pools: Sequence[PoolStatus]) -> AsyncGenerator[Finding]:
    """Findings about the queue. Raises `QueueError` where it does not answer, and `SettingsError`."""
    check_queue(settings)
    if settings.queue.kind is QueueKind.SQS:
        async for finding in _sqs(settings, pools):
            yield finding
        return
    async for finding in _kafka(settings, pools):
        yield finding


async def _sqs(settings: Settings, pools: Sequence[PoolStatus]) -> AsyncGenerator[Finding]:
    from backburner.publishers.sqs.queues import queue_names, survey

    for pool in pools:
        found = await survey(settings, queue_names(settings.prefix, pool.pool))
        for name, attributes in found.items():
            for finding in sqs.judge_queue(name, attributes, settings.topic_layout, pool.model):
                yield finding


async def _kafka(settings: Settings, pools: Sequence[PoolStatus]) -> AsyncGenerator[Finding]:
    from backburner.publishers.kafka.survey import survey

    lanes: dict[str, Lane] = {}
    for pool in pools:
        lanes.update(routing.topics(settings.prefix, pool.pool))
    facts = await survey(settings, lanes, [routing.group(settings.prefix, pool.pool) for pool in pools])
    for finding in kafka.judge_cluster(facts.brokers, facts.broker_settings, settings.topic_layout):
        yield finding
    expected = kafka.Expected(settings.topic_layout, settings.max_body_bytes + ENVELOPE_BYTES)
    for pool in pools:
        topics = routing.topics(settings.prefix, pool.pool)
        for name, lane in topics.items():
            for finding in kafka.judge_topic(name, lane, facts.topics.get(name), expected, pool.model):
                yield finding
        if topics.keys() <= facts.topics.keys():
            for finding in kafka.judge_rights(settings.prefix, pool.pool, frozenset(facts.lacking)):
                yield finding
    if facts.topics:
        yield await _metadata(settings, min(facts.topics))


async def _metadata(settings: Settings, topic: str) -> Finding:
    from backburner.publishers.kafka.survey import METADATA_BYTES, MetadataUnknown, keeps_metadata

    subject = "commit metadata"
    try:
        kept = await keeps_metadata(settings, topic, f"{settings.prefix}.{_PROBE_GROUP}")
    except MetadataUnknown as unknown:
        return warning(subject, f"not tried: {unknown}", "a worker's log says it at its first assignment")
    if kept:
        return ok(subject, f"the broker stores {METADATA_BYTES:,} bytes beside an offset")
    return warning(
        subject,
        "the broker drops what is committed beside an offset: after a crash or a rebalance finished work behind an "
        "unfinished request runs again, and requests that kill whole workers are not recognised",
        "use a broker that keeps it, as Apache Kafka does",
    )
