"""What a server cannot judge, why, and where it is judged instead: one table. Tests name the power that they need."""

from dataclasses import dataclass

OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Gap:
    """A power that some kinds of queue here lack."""

    kinds: frozenset[str]
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.why}; judged on {self.instead}"


GAPS: dict[str, tuple[Gap, ...]] = {
    "static membership": (Gap(frozenset({"kafka-tansu"}), "Tansu has no static membership", "kafka-apache"),),
    "commit metadata": (Gap(frozenset({"kafka-tansu"}), "Tansu drops commit metadata silently", "kafka-apache"),),
    "session limits": (Gap(frozenset({"kafka-tansu"}), "Tansu takes any session time-out", "kafka-apache"),),
    "size limit": (
        Gap(
            frozenset({"kafka-tansu"}),
            "Tansu stores a topic's max.message.bytes and does not enforce it",
            "kafka-apache",
        ),
    ),
    "tells redelivery": (
        Gap(
            frozenset({"kafka:*"}),
            "Kafka does not count how often it gave a record",
            "sqs and fake; Kafka's own marks by test_kafka_marks.py",
        ),
    ),
    "tells expiry": (
        Gap(
            frozenset({"sqs"}),
            "ministack extends a visibility that has run out, where AWS refuses and so tells that the lease is lost",
            "AWS as outside, fake, and test_sqs*.py with the refusal injected",
        ),
    ),
    "raw bytes": (
        Gap(
            frozenset({"sqs:*"}),
            "an SQS message is text, so bytes that are none cannot be sent",
            "kafka and fake",
        ),
    ),
    "a server": (Gap(frozenset({"fake"}), "the fake has no server that could be missing", "kafka and sqs"),),
}
"""Each power that not all of them have."""


def gap(power: str, kind: str, outside: str, lacks: str = "") -> Gap | None:
    """Why that kind of queue cannot judge a test that needs the power; None where it can.

    `outside` is the scheme of an outside queue's URL, and `lacks` the powers, separated by commas, that its user says
    it has not. A row for `kafka:*` or `sqs:*` is about all queues of that sort.
    """
    if kind == OUTSIDE and power in {each.strip() for each in lacks.split(",")}:
        return Gap(frozenset({OUTSIDE}), "BACKBURNER_TEST_QUEUE_LACKS says that this server cannot", "no server here")
    sort = outside if kind == OUTSIDE else kind.partition("-")[0]
    return next((found for found in GAPS[power] if not found.kinds.isdisjoint({kind, f"{sort}:*"})), None)
