"""The fault harness's independent checker over store and broker, for the jobs named; prints its verdict as JSON.

usage: judge.py POOL SECONDS NAME=COUNT[=MODEL]…

It waits that long for the last commits. What was asked for was accepted: whoever calls this has seen the submit return.
"""

import asyncio
import dataclasses
import json
import sys
from urllib.parse import urlsplit

from harness.asked import parse

from backburner.publishers.kafka.connection import kafka_connection
from backburner.settings import Settings
from chaos import kafka_state
from chaos.book import Book
from chaos.checker import check
from chaos.objects import S3Address, S3Objects


async def _main(pool, seconds, words):
    settings = Settings.load()
    book = Book(settings.tenant, settings.prefix, pool, jobs=parse(words))
    for name, several in book.jobs.items():
        for index, asked in enumerate(several):
            asked.accepted, asked.job, asked.index = True, name, index
    connection = dict(kafka_connection(settings))
    brokers = connection.pop("bootstrap_servers")
    queue = await kafka_state.look(brokers, book.prefix, pool, seconds=float(seconds), security=connection)
    store = urlsplit(settings.store_url)
    objects = S3Objects(S3Address(store.netloc, store.path, settings.store_endpoint, None))
    return dataclasses.asdict(check(book, objects, queue))


print(json.dumps(asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3:]))))
