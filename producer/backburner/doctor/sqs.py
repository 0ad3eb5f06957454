"""What is right and wrong with an SQS queue. Pure: it judges the queue's attributes, and asks nobody."""

from collections.abc import Iterator, Mapping

from backburner.doctor.finding import Finding, ok, warning, wrong
from backburner.doctor.kafka import DEFAULT_DEADLINE_SECONDS
from backburner.settings.topics import TopicLayout

_MAX_MESSAGE_BYTES = 1024 * 1024
_MIN_VISIBILITY_SECONDS = 30


def judge_queue(name: str, attributes: Mapping[str, str] | None, layout: TopicLayout, model: str) -> Iterator[Finding]:
    """Findings about a queue, by its attributes in SQS's own names; None where there is no queue."""
    if attributes is None:
        yield wrong(name, "does not exist", f"run `backburner topics ensure --pool {model}`")
        return
    found = list(_judge(name, attributes, layout))
    yield from found
    if not found:
        kept = _number(attributes, "MessageRetentionPeriod")
        yield ok(name, "no redrive policy" + (f", requests are kept for {kept:,} s" if kept is not None else ""))


def _judge(name: str, attributes: Mapping[str, str], layout: TopicLayout) -> Iterator[Finding]:
    if attributes.get("RedrivePolicy"):
        yield wrong(
            name,
            "has a redrive policy: SQS moves requests away without a record",
            "remove it with `aws sqs set-queue-attributes --queue-url … --attributes RedrivePolicy=`",
        )
    kept = _number(attributes, "MessageRetentionPeriod")
    if kept is not None and kept < DEFAULT_DEADLINE_SECONDS:
        yield wrong(
            name,
            f"requests are kept for {kept:,} s, and a job has {DEFAULT_DEADLINE_SECONDS:,.0f} s",
            f"set MessageRetentionPeriod to {layout.retention_seconds:.0f}",
        )
    elif kept is not None and kept < layout.retention_seconds:
        yield warning(
            name,
            f"requests are kept for {kept:,} s, less than BACKBURNER_TOPIC_RETENTION_SECONDS",
            f"set MessageRetentionPeriod to {layout.retention_seconds:.0f}, or give no job a longer deadline",
        )
    largest = _number(attributes, "MaximumMessageSize")
    if largest is not None and largest < _MAX_MESSAGE_BYTES:
        yield wrong(
            name,
            f"messages may have {largest:,} bytes, and Backburner sends up to {_MAX_MESSAGE_BYTES:,}",
            f"set MaximumMessageSize to {_MAX_MESSAGE_BYTES}",
        )
    if delay := _number(attributes, "DelaySeconds"):
        yield warning(name, f"holds every message back for {delay} s", "set DelaySeconds to 0")
    hidden = _number(attributes, "VisibilityTimeout")
    if hidden is not None and hidden < _MIN_VISIBILITY_SECONDS:
        yield warning(
            name,
            f"its own visibility time-out is {hidden} s: whoever reads it by hand makes requests come twice",
            "set VisibilityTimeout to 120; workers pass their own",
        )


def _number(attributes: Mapping[str, str], name: str) -> int | None:
    try:
        return int(attributes[name])
    except (KeyError, ValueError):
        return None
