"""What the stock package's async client is told of batches that do not go as planned, and of many: `PROGRAM MODEL`.

It runs in an environment that holds `openai` and nothing of Backburner.
"""

import asyncio
import json
import sys

from openai import AsyncOpenAI

ENDPOINT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}
MORE_THAN_A_PAGE = 101


def line(custom_id, model, text="one two three"):
    message = {"role": "user", "content": text}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": ENDPOINT,
        "body": {"model": model, "messages": [message]},
    }


async def upload(client, name, lines):
    content = "".join(text if isinstance(text, str) else json.dumps(text) + "\n" for text in lines)
    return await client.files.create(file=(name, content.encode()), purpose="batch")


async def create(client, file):
    return await client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")


async def ended(client, batch):
    while batch.status not in ENDED:
        await asyncio.sleep(0.1)
        batch = await client.batches.retrieve(batch.id)
    return batch


async def one_line_that_is_no_request(client, model):
    file = await upload(client, "broken.jsonl", [line("a", model), '{"custom_id": "b"}\n', line("a", model)])
    batch = await ended(client, await create(client, file))
    return {"status": batch.status, "errors": [error.to_dict() for error in batch.errors.data]}


async def a_change_of_mind(client, model):
    file = await upload(client, "slow.jsonl", [line("slow", model, "[[hang]]")])
    batch = await create(client, file)
    cancelled = await client.batches.cancel(batch.id)
    return [cancelled.status, (await ended(client, cancelled)).status]


async def more_batches_than_a_page(client, model):
    file = await upload(client, "small.jsonl", [line("small", model)])
    made = await asyncio.gather(*(create(client, file) for _ in range(MORE_THAN_A_PAGE)))
    listed = [batch.id async for batch in client.batches.list(limit=40)]
    return {"made": [batch.id for batch in made], "listed": listed}


async def main(model):
    async with AsyncOpenAI() as client:
        told = {
            "broken": await one_line_that_is_no_request(client, model),
            "cancelled": await a_change_of_mind(client, model),
            "pages": await more_batches_than_a_page(client, model),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
