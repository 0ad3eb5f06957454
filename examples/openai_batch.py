"""OpenAI's own package against your own GPUs: its two variables say where, and nothing else in the program changes.

pip install openai
export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=bb-…
python examples/openai_batch.py
"""

import json
import time

from openai import OpenAI

QUESTIONS = ("What is the capital of Japan?", "What is the capital of Germany?", "What is the opposite of hot?")


def line(number: int, question: str, model: str) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 24,
        "temperature": 0,
    }
    return json.dumps(
        {"custom_id": f"question-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


def main() -> None:
    client = OpenAI()
    model = client.models.list().data[0].id
    prompts = "\n".join(line(number, question, model) for number, question in enumerate(QUESTIONS))
    file = client.files.create(file=("prompts.jsonl", prompts.encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"from": "example"}
    )
    print(f"batch {batch.id} of {model}: {batch.status}")
    while batch.status in {"validating", "in_progress", "finalizing"}:
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
    counts = batch.request_counts
    print(f"{batch.status}: {counts.completed} of {counts.total} completed, {counts.failed} failed")
    if batch.output_file_id:
        for answer in map(json.loads, client.files.content(batch.output_file_id).text.splitlines()):
            text = answer["response"]["body"]["choices"][0]["message"]["content"]
            print(f"{answer['custom_id']}: {text.strip()}")
    if batch.error_file_id:
        print(client.files.content(batch.error_file_id).text)

    # A second one, only to be cancelled.
    unwanted = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"from": "mistake"}
    )
    print(f"cancelled: {client.batches.cancel(unwanted.id).status}")
    print(
        f"batches: {sum(1 for _ in client.batches.list(limit=1))}, files: {sum(1 for _ in client.files.list(limit=1))}"
    )


if __name__ == "__main__":
    main()
