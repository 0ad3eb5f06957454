"""The fourth way in: OpenAI's own client. Here the package `openai` alone; nothing of Backburner is imported.

It finds everything in its own two variables, OPENAI_BASE_URL and OPENAI_API_KEY. Run it beside `backburner up
--gateway`, after `. .backburner/env`, where `openai` is installed:  python examples/openai_batch.py [PROMPTS [ANSWERS]]
PROMPTS is a batch file, ANSWERS where the answers go; without them prompts.jsonl here, and nowhere.
"""

import json
import sys
import time
from pathlib import Path

from openai import OpenAI

RUNNING = ("validating", "in_progress", "finalizing")
POLL_SECONDS = 1.0


def main(prompts: Path, answers: Path | None) -> int:
    client = OpenAI()
    model = next(iter(client.models.list())).id
    print(f"model: {model}")

    # Every line is one request. The last one asks for a negative number of tokens: what is wrong with a request hurts
    # no other, and comes back in the error file.
    lines = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    lines.append({**lines[0], "custom_id": "refused", "body": {**lines[0]["body"], "max_tokens": -1}})
    for line in lines:
        line["body"]["model"] = model
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=(prompts.name, content), purpose="batch")
    print(f"file: {file.id}, {file.bytes} bytes")

    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"example": "openai_batch"},
    )
    print(f"batch: {batch.id}")
    shown = ""
    while batch.status in RUNNING:
        time.sleep(POLL_SECONDS)
        batch = client.batches.retrieve(batch.id)
        if (counts := batch.request_counts) is not None:
            progress = f"{batch.status}: {counts.completed} of {counts.total} answered, {counts.failed} failed"
            if progress != shown:
                print(progress)
                shown = progress

    if batch.output_file_id:
        output = client.files.content(batch.output_file_id).text
        if answers is not None:
            answers.write_text(output, encoding="utf-8")
        for record in map(json.loads, output.splitlines()[:3]):
            answer = record["response"]["body"]["choices"][0]["message"]["content"]
            print(f"{record['custom_id']}: {' '.join(answer.split())}")
    if batch.error_file_id:
        for record in map(json.loads, client.files.content(batch.error_file_id).text.splitlines()):
            error = record["error"] or record["response"]["body"]["error"]
            print(f"{record['custom_id']}: {error['message']}")

    # The same file again, and a change of mind.
    again = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    again = client.batches.cancel(again.id)
    print(f"batch {again.id}: {again.status}")

    # The list comes in pages, which the client asks for by itself.
    listed = list(client.batches.list(limit=100))
    print(f"{len(listed)} batches, the newest {listed[0].id}, the oldest {listed[-1].id}")
    return 0 if batch.status == "completed" else 1


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:3]]
    sys.exit(main(given[0] if given else Path(__file__).with_name("prompts.jsonl"), given[1] if given[1:] else None))
