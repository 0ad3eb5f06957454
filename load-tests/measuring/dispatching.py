"""Stored jobs and a dispatcher for them, as scenarios need them."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from backburner import Client
from backburner.inputs.source import Source
from measuring.child import child
from measuring.part import Part, part

TENANT = "default"
_NO_BOUND = "1000000000"


async def store(source: Source, tenant: str = TENANT) -> str:
    """Make a stored job; its id."""
    async with Client() as client:
        return (await client.submit(source, tenant=tenant, stored=True)).id


def dispatcher() -> AbstractContextManager[Part]:
    """A running dispatcher, which has no bound for what lies on the queue."""
    return part("backburner.dispatcher", BACKBURNER_DISPATCH_BACKLOG=_NO_BOUND)


@contextmanager
def announced(model: str) -> Iterator[None]:
    """A worker of the model's pool that is a member of its group and pulls nothing."""
    env = {**os.environ, "BACKBURNER_ENGINE": "fake", "BACKBURNER_MODEL": model, "BACKBURNER_POOL": model}
    with child("scale_worker", env=env):
        yield
