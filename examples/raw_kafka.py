"""The second way in: any Kafka producer. Here aiokafka alone; nothing of Backburner is imported.

A message is a line of an OpenAI batch file. Its answer goes to the stream of its topic and day, under its custom_id.
Run it beside `backburner up`, after `. .backburner/env`:  python examples/raw_kafka.py MODEL
"""

import asyncio
import json
import os
import sys

from aiokafka import AIOKafkaProducer

QUESTIONS = ("What is the capital of Italy?", "What is the chemical symbol of gold?", "What is the opposite of big?")


async def main(model: str) -> None:
    servers = os.environ["BACKBURNER_QUEUE_URL"].removeprefix("kafka://")
    topic = f"{os.environ.get('BACKBURNER_PREFIX', 'backburner')}.{os.environ['BACKBURNER_POOL']}.normal"
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for number, question in enumerate(QUESTIONS):
            line = {
                "custom_id": f"raw-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": model,
                    "messages": [{"role": "user", "content": question}],
                    "max_tokens": 24,
                    "temperature": 0,
                },
            }
            sent = await producer.send_and_wait(topic, json.dumps(line).encode())
            print(f"{line['custom_id']} is on {sent.topic}, partition {sent.partition}, offset {sent.offset}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
