"""The ids of a consumer group's members, as JSON; that of a static one begins with its name.

usage: members.py GROUP
"""

import asyncio
import json
import sys

from aiokafka.admin import AIOKafkaAdminClient

from backburner.publishers.kafka.connection import kafka_connection
from backburner.settings import Settings


async def _main(group):
    admin = AIOKafkaAdminClient(**kafka_connection(Settings.load()))
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        (found,) = answer.groups
    finally:
        await admin.close()
    return sorted(member[0] for member in found[5])


print(json.dumps(asyncio.run(_main(sys.argv[1]))))
