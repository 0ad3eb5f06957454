"""A user's program that ends in the way that its argument names, with requests to the store under way."""

import asyncio
import signal
import sys
from contextlib import suppress

from backburner import Client, SyncClient
from backburner_schemas.errors import StoreDenied

_COUNT = 40
_kept = []


async def ask(client):
    _kept.extend(asyncio.create_task(client.job(f"job-{number}").status()) for number in range(_COUNT))
    # The store refuses this one in any case, and no earlier than it has heard of some of the others.
    with suppress(StoreDenied):
        await client.job("first").status()


async def ask_and_raise(client):
    await ask(client)
    sys.exit("as it should")


async def ask_and_interrupt(client):
    await ask(client)
    signal.raise_signal(signal.SIGINT)
    await asyncio.Event().wait()


def loop_left_as_it_is():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask(Client()))
    return loop


def loop_closed_without_an_end():
    loop = loop_left_as_it_is()
    loop.close()


def interrupted():
    # Whatever runs the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(ask_and_interrupt(Client()))


WAYS = {
    "returned": lambda: asyncio.run(ask(Client())),
    "raised": lambda: asyncio.run(ask_and_raise(Client())),
    "interrupted": interrupted,
    "loop-left": lambda: _kept.append(loop_left_as_it_is()),
    "loop-closed": loop_closed_without_an_end,
    "sync-client-left": lambda: SyncClient().run(ask),
}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
