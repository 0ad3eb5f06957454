"""A member of a pool's group that begins what comes, settles every second delivery and tells it, until it is killed."""

import asyncio
import sys

from backburner.publishers.kafka.publisher import kafka_connection
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.codec import Rules
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.sources.kafka.membership import Membership
from backburner_worker.sources.kafka.source import KafkaSource


async def main() -> None:
    url, prefix, pool, session, *instance = sys.argv[1:]
    settings = Settings(queue_url=url, prefix=prefix)
    source = KafkaSource(
        connection=kafka_connection(settings),
        topics=routing.topics(prefix, pool),
        group=routing.group(prefix, pool),
        rules=Rules(),
        membership=Membership(float(session), 20.0, instance_id=instance[0] if instance else None),
        client_id="killed",
    )

    async def revoked() -> None:
        print("revoked", flush=True)

    await source.start(revoked)
    holds = 0
    while True:
        for found in await source.pull({Lane.NORMAL: 50}):
            assert isinstance(found.message, Envelope)
            index = int(found.message.index)
            await source.begin(found)
            if index % 2:
                await source.settle(found)
                print("settled", index, flush=True)
            else:
                holds += 1
                print("holds", index, "suspect" if found.facts.suspect else "innocent", flush=True)
        if holds and source.uncommitted() == holds:
            print("saved", holds, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
