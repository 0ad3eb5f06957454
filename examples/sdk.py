"""The first way in: the Python SDK. One request and its answer, then a job and its results while it runs.

Run it beside `backburner up`, after `. .backburner/env`:  python examples/sdk.py [MODEL]
"""

import asyncio
import sys

from backburner import Client

QUESTION = "What is the capital of Japan?"
MORE_QUESTIONS = ("What is the capital of Germany?", "What is the opposite of hot?", "Who wrote Hamlet?")


async def main(model: str | None) -> None:
    async with Client() as client:
        handle = await client.enqueue(QUESTION, model=model, max_tokens=24, temperature=0)
        answer = await handle.result(timeout=120)
        print(f"one request: {answer.text.strip()}")

        model = answer.response.body["model"]  # the one that answered
        job = await client.submit(
            {
                "custom_id": f"question-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": model,
                    "messages": [{"role": "user", "content": question}],
                    "max_tokens": 24,
                    "temperature": 0,
                },
            }
            for number, question in enumerate(MORE_QUESTIONS)
        )
        async for record in job.results():
            print(f"{record.custom_id}: {record.text.strip()}")
        status = await job.status()
        print(f"job {job.id} {status.status}: {status.request_counts.completed} of {status.request_counts.total}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
