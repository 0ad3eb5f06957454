"""OpenAI's package in its async form, in an environment without ours: every call that the gateway serves."""

import asyncio
import hashlib
import json
import sys

import openai
from openai import AsyncOpenAI
from openai.types import Batch, FileObject, Model, Upload


async def main() -> None:
    found = {}
    async with AsyncOpenAI() as client:
        models = [model async for model in client.models.list()]
        assert all(isinstance(model, Model) for model in models)
        model = await client.models.retrieve(sys.argv[1])
        lines = [
            json.dumps(
                {
                    "custom_id": f"r{number}",
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": model.id, "messages": [{"role": "user", "content": text}], "max_tokens": 8},
                }
            )
            for number, text in enumerate(sys.argv[2:])
        ]
        data = "\n".join(lines).encode()
        file = await client.files.create(
            file=("prompts.jsonl", data), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert isinstance(file, FileObject)
        assert (await client.files.retrieve(file.id)).bytes == len(data)
        assert (await client.files.content(file.id)).content == data
        assert file.id in [one.id async for one in client.files.list(purpose="batch", order="asc", limit=2)]

        upload = await client.uploads.create(
            bytes=len(data), filename="prompts.jsonl", mime_type="application/jsonl", purpose="batch"
        )
        half = len(data) // 2
        parts = [await client.uploads.parts.create(upload.id, data=piece) for piece in (data[:half], data[half:])]
        upload = await client.uploads.complete(
            upload.id, part_ids=[part.id for part in parts], md5=hashlib.md5(data).hexdigest()
        )
        assert isinstance(upload, Upload)
        assert (await client.files.content(upload.file.id)).content == data
        given_up = await client.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="batch")
        assert (await client.uploads.cancel(given_up.id)).status == "cancelled"

        batch = await client.batches.create(
            input_file_id=upload.file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            output_expires_after={"anchor": "created_at", "seconds": 7200},
            extra_body={"priority": "high"},
        )
        assert isinstance(batch, Batch)
        while batch.status not in {"completed", "failed", "expired", "cancelled"}:
            await asyncio.sleep(0.1)
            batch = await client.batches.retrieve(batch.id)
        found["batch"] = json.loads(batch.model_dump_json())
        for name in ("output_file_id", "error_file_id"):
            if file_id := getattr(batch, name):
                content = (await client.files.content(file_id)).text
                found[name] = [json.loads(line) for line in content.splitlines()]
        assert batch.id in [one.id async for one in client.batches.list(limit=1)]
        assert (await client.files.delete(file.id)).deleted
        try:
            await client.files.retrieve(file.id)
        except openai.NotFoundError as error:
            found["gone"] = [error.code, error.type, error.request_id]
    print(json.dumps(found))


asyncio.run(main())
