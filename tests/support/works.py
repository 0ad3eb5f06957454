"""Works as the pipeline makes them, for tests of what holds and orders them."""

import math
from functools import cache

from backburner_schemas.codec import Origin
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.policy import Run
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.work import Work
from backburner_worker.sources.base import Delivery

WEIGHTS = {Lane.HIGH: 8, Lane.NORMAL: 4, Lane.RETRY: 2, Lane.LOW: 1}


def work(
    position: int = 0,
    lane: Lane = Lane.NORMAL,
    *,
    suspect: bool = False,
    among: int = 0,
    tenant: str = "default",
    deadline: float = math.inf,
    model: str | int | None = "fake",
    prefix: tuple[int, ...] = (),
    tokens: int = 1,
    size: int = 0,
) -> Work:
    """A work that `position` tells from others; a model of None makes a claim check, whose body is elsewhere."""
    envelope = _envelope(tenant, model)
    delivery = Delivery(
        message=envelope,
        raw=b"x" * size,
        origin=Origin("q", f"0-{position}", 0.0),
        lane=lane,
        facts=DeliveryFacts(suspect=suspect, among=among),
        token=position,
    )
    return Work(delivery, Run(envelope, AnswerMode.SEGMENT, deadline), tokens, prefix)


@cache
def _envelope(tenant: str, model: str | int | None) -> Envelope:
    return Envelope(
        tenant=tenant,
        job="stream-q",
        index="0-0",
        custom_id="c",
        url=Endpoint.CHAT,
        body=None if model is None else {"model": model},
        body_ref=f"tenants/{tenant}/jobs/stream-q/bodies/0-0.json" if model is None else None,
    )


def new_feeder(window: int = 1000, window_bytes: int = 1 << 20) -> Feeder:
    """An empty feeder."""
    return Feeder(WEIGHTS, window, window_bytes)


def taken(feeder: Feeder, count: int | None = None) -> list[object]:
    """The positions of the next so many, None where there is none; of all that are held if no count is given."""
    found = [feeder.take() for _ in range(len(feeder) if count is None else count)]
    return [one.delivery.token if one else None for one in found]
