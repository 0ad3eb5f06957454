"""How long messages wait, as a worker's metrics tell it."""

import time

import pytest
from prometheus_client import CollectorRegistry

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.sources.base import Delivery
from backburner_worker.telemetry.oldest_messages import OldestMessages
from backburner_worker.telemetry.telemetry import Telemetry


@pytest.fixture
def oldest():
    return OldestMessages()


def delivery(enqueued_at, deadline=None, lane=Lane.NORMAL):
    message = Envelope(
        tenant="t",
        job="batch_1",
        index=0,
        custom_id="c",
        url=Endpoint.CHAT,
        body={"model": "m", "messages": []},
        enqueued_at=enqueued_at,
        deadline=deadline,
    )
    return Delivery(message, b"", Origin("q", "0-1", enqueued_at), lane, DeliveryFacts(), token=None)


def test_the_oldest_of_the_latest_pull_counts(oldest):
    oldest.pulled([delivery(100), delivery(50)])
    assert oldest.age_seconds(Lane.NORMAL, 150) == 100
    oldest.pulled([delivery(140)])
    assert oldest.age_seconds(Lane.NORMAL, 150) == 10


def test_a_lane_ages_until_its_next_pull_whatever_the_others_do(oldest):
    oldest.pulled([delivery(100, lane=Lane.LOW), delivery(100)])
    oldest.pulled([delivery(190)])
    assert oldest.age_seconds(Lane.LOW, 200) == 100
    assert oldest.age_seconds(Lane.NORMAL, 200) == 10
    assert oldest.age_seconds(Lane.HIGH, 200) == 0


def test_the_earliest_deadline_tells_how_urgent_it_is(oldest):
    oldest.pulled([delivery(0, 1000), delivery(50, 150), delivery(0)])
    assert oldest.deadline_ratio(Lane.NORMAL, 125) == 0.75
    assert oldest.deadline_ratio(Lane.NORMAL, 40) == 0
    oldest.pulled([delivery(0)])
    assert oldest.deadline_ratio(Lane.NORMAL, 9000) == 0
    oldest.pulled([delivery(0, 1000)])
    assert oldest.deadline_ratio(Lane.NORMAL, 9000) == 1
    assert oldest.deadline_ratio(Lane.LOW, 9000) == 0


def test_messages_without_times_tell_nothing(oldest):
    unaddressed = Unaddressed(Undeliverable())
    oldest.pulled([delivery(0), Delivery(unaddressed, b"", Origin("q", "0-1", 0.0), Lane.LOW, DeliveryFacts(), None)])
    assert oldest.age_seconds(Lane.NORMAL, 100) == 0
    assert oldest.age_seconds(Lane.LOW, 100) == 0


def test_metrics_show_it_while_messages_are_not_settled():
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    now = time.time()
    telemetry.pulled([delivery(now - 3600, now - 60)])

    def shown(name):
        return registry.get_sample_value(f"backburner_oldest_message_{name}", {"lane": "normal"})

    telemetry.lag({Lane.NORMAL: 1})
    assert shown("age_seconds") >= 3600
    assert shown("deadline_ratio") == 1
    telemetry.lag({Lane.NORMAL: 0})
    assert shown("age_seconds") == 0
    assert shown("deadline_ratio") == 0
