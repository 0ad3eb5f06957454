"""The third way in: OpenAI's own client. Here the package `openai` alone; nothing of Backburner is imported.

It finds everything in its own two variables, OPENAI_BASE_URL and OPENAI_API_KEY. Run it beside `backburner up
--gateway`, after `. .backburner/env`, where `openai` is installed:  python examples/openai_batch.py [PROMPTS [ANSWERS]]
PROMPTS is a batch file, prompts.jsonl here if not given; ANSWERS is where all answers go.
"""

import json
import sys
import time
from pathlib import Path

from openai import OpenAI
from openai.types import Batch, FileObject

ENDPOINT = "/v1/chat/completions"
RUNNING = ("validating", "in_progress", "finalizing")
POLL_SECONDS = 2.0


def upload(client: OpenAI, prompts: Path, model: str) -> FileObject:
    """Every line of the file is a request. One more asks for fewer tokens than none: what is wrong hurts no other."""
    lines = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    lines.append({**lines[0], "custom_id": "refused", "body": {**lines[0]["body"], "max_tokens": -1}})
    for line in lines:
        line["body"]["model"] = model
    content = "".join(json.dumps(line) + "\n" for line in lines)
    return client.files.create(file=(prompts.name, content.encode()), purpose="batch")


def wait(client: OpenAI, batch: Batch) -> Batch:
    """Look at the batch until it has ended, and tell how far it is."""
    shown = ""
    while batch.status in RUNNING:
        time.sleep(POLL_SECONDS)
        batch = client.batches.retrieve(batch.id)
        counts = batch.request_counts
        progress = f"{batch.status}: {counts.completed} of {counts.total} answered, {counts.failed} failed"
        if progress != shown:
            print(progress)
            shown = progress
    return batch


def show(client: OpenAI, batch: Batch, prompts: Path, answers: Path | None) -> None:
    """Answers are in one file, in the order in which they were found, and what has no answer is in the other."""
    if batch.output_file_id:
        output = client.files.content(batch.output_file_id).text
        if answers is not None:
            answers.write_text(output, encoding="utf-8")
        found = {record["custom_id"]: record["response"]["body"] for record in map(json.loads, output.splitlines())}
        first = json.loads(prompts.read_text(encoding="utf-8").splitlines()[0])
        answer = found[first["custom_id"]]["choices"][0]["message"]["content"]
        print(f"{first['body']['messages'][-1]['content']} {' '.join(answer.split())}")
    if batch.error_file_id:
        for record in map(json.loads, client.files.content(batch.error_file_id).text.splitlines()):
            error = record["error"] or record["response"]["body"]["error"]
            print(f"{record['custom_id']}: {error['message']}")


def main(prompts: Path, answers: Path | None = None) -> int:
    client = OpenAI()
    model = next(iter(client.models.list())).id
    print(f"model: {model}")

    file = upload(client, prompts, model)
    print(f"file: {file.id}, {file.bytes} bytes")
    batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    print(f"batch: {batch.id}")
    batch = wait(client, batch)
    show(client, batch, prompts, answers)

    # The same file again, and a change of mind.
    again = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    print(f"another batch: {client.batches.cancel(again.id).status}")

    # The list comes in pages, which the client asks for by itself.
    print(f"batches so far: {sum(1 for _ in client.batches.list(limit=20))}")
    return 0 if batch.status == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3] or [Path(__file__).with_name("prompts.jsonl")])))
