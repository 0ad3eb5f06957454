"""Picks the source for the queue that the settings name."""

from backburner.settings import QueueKind, Settings
from backburner_schemas import routing
from backburner_worker.sources.base import Source
from backburner_worker.sources.options import SourceOptions


async def check_source(settings: Settings, pool: str) -> None:
    """Raise `QueueError` if the pool's topics or queues are not there, or the broker refuses this worker.

    A broker that does not answer may be up when the model is: that is only logged.
    """
    if settings.queue.kind is QueueKind.SQS:
        from backburner_worker.sources.sqs.calls import check_queues

        check_queues(settings, pool)
        return
    from backburner.publishers.kafka.publisher import kafka_connection
    from backburner_worker.sources.kafka.consumer import check_topics

    topics, group = routing.topics(settings.prefix, pool), routing.group(settings.prefix, pool)
    await check_topics(kafka_connection(settings), topics, group)


def open_source(settings: Settings, options: SourceOptions, *, pool: str, worker: str) -> Source:
    """The source of that pool's deliveries; it connects when it is started."""
    if settings.queue.kind is QueueKind.SQS:
        from backburner.publishers.sqs.queues import queue_names
        from backburner_worker.sources.sqs.source import SqsSource

        return SqsSource(
            settings,
            queues=queue_names(settings.prefix, pool),
            rules=options.rules,
            times=options.sqs_times,
        )
    from backburner.publishers.kafka.publisher import kafka_connection
    from backburner_worker.sources.kafka.source import KafkaSource

    return KafkaSource(
        connection=kafka_connection(settings),
        topics=routing.topics(settings.prefix, pool),
        group=routing.group(settings.prefix, pool),
        rules=options.rules,
        membership=options.membership,
        client_id=worker,
    )
