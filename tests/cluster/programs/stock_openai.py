"""A batch by the stock `openai` package, from upload to results; prints the answers' custom_ids, as JSON.

It runs in a pod that knows no more of Backburner than OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import io
import json
import time

import openai

COUNT = 20
_END_SECONDS = 120


def _lines():
    for number in range(COUNT):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"Say word {number}."}]}
        yield json.dumps({"custom_id": f"s{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})


client = openai.OpenAI()
file = client.files.create(file=io.BytesIO("\n".join(_lines()).encode()), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
end = time.monotonic() + _END_SECONDS
while batch.status not in {"completed", "failed", "expired", "cancelled"} and time.monotonic() < end:
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
assert batch.status == "completed", batch
answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
assert all(answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers)
print(json.dumps([answer["custom_id"] for answer in answers]))
