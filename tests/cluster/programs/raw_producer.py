"""Puts plain batch lines onto a lane by aiokafka alone, as a program does that has never heard of Backburner.

usage: raw_producer.py TOPIC COUNT; it prints partition and offset of each, as JSON. It reads KAFKA_SERVERS, KAFKA_USER,
KAFKA_PASSWORD and KAFKA_CA.
"""

import asyncio
import json
import os
import ssl
import sys

from aiokafka import AIOKafkaProducer


async def _main(topic, count):
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_SERVERS"],
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=os.environ["KAFKA_USER"],
        sasl_plain_password=os.environ["KAFKA_PASSWORD"],
        ssl_context=ssl.create_default_context(cafile=os.environ["KAFKA_CA"]),
    ) as producer:
        sent = []
        for number in range(count):
            body = {"model": "fake", "messages": [{"role": "user", "content": f"Say raw word {number}."}]}
            line = {"custom_id": f"raw{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            place = await producer.send_and_wait(topic, json.dumps(line).encode())
            sent.append([place.partition, place.offset])
        return sent


print(json.dumps(asyncio.run(_main(sys.argv[1], int(sys.argv[2])))))
