"""The fault harness's independent checker over store and broker, for the jobs named; prints its verdict as JSON.

usage: judge.py POOL SECONDS NAME=COUNT[=MODEL]… [--any-engine]

It waits up to that long until each job is frozen, and a minute for the last commits. What was asked for counts as
accepted: whoever calls this has seen the submit return. With
`--any-engine` only the form of an answer counts, not that it is the fake engine's.
"""

import asyncio
import dataclasses
import json
import sys
from urllib.parse import urlsplit

from harness.asked import parse

from backburner import Client
from backburner.publishers.kafka.connection import kafka_connection
from backburner.settings import Settings
from chaos import kafka_state
from chaos.book import Book
from chaos.checker import check
from chaos.objects import S3Address, S3Objects

_COMMIT_SECONDS = 60.0


async def _main(pool, seconds, words):
    any_engine = "--any-engine" in words
    words = [word for word in words if not word.startswith("--")]
    settings = Settings.load()
    book = Book(settings.tenant, settings.prefix, pool, jobs=parse(words))
    for name, several in book.jobs.items():
        for index, asked in enumerate(several):
            asked.accepted, asked.job, asked.index = True, name, index
    async with Client() as client:
        for name in book.jobs:
            await client.job(name).wait(timeout=float(seconds))
    connection = dict(kafka_connection(settings))
    brokers = connection.pop("bootstrap_servers")
    queue = await kafka_state.look(brokers, book.prefix, pool, seconds=_COMMIT_SECONDS, security=connection)
    store = urlsplit(settings.store_url)
    objects = S3Objects(S3Address(store.netloc, store.path, settings.store_endpoint, None))
    return dataclasses.asdict(check(book, objects, queue, fake=not any_engine))


print(json.dumps(asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3:]))))
