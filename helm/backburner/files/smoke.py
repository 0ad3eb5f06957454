"""What `helm test` runs: a batch with a request for each model, sent through the gateway as any program sends one.

It has to end with an answer for each; so gateway, dispatcher, queue, a warm worker of each model and the store are seen
to work together. Python's own library is all that it takes.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ["SMOKE_URL"]
HEADERS = {"Authorization": f"Bearer {os.environ['SMOKE_KEY'].strip()}"}
MODELS = json.loads(os.environ["SMOKE_MODELS"])
ENDPOINT = os.environ["SMOKE_ENDPOINT"]
END = time.monotonic() + float(os.environ["SMOKE_TIMEOUT_SECONDS"])
PAUSE_SECONDS = 1.0


def call(method, path, data=None, kind="application/json"):
    """The answer to a call; made again while nothing answers, and after what passes by itself."""
    while True:
        request = urllib.request.Request(
            URL + path, data=data, method=method, headers={**HEADERS, "Content-Type": kind}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            if error.code not in (429, 502, 503, 504) or time.monotonic() > END:
                sys.exit(f"{method} {path}: {error.code}: {said}")
        except OSError as error:
            if time.monotonic() > END:
                sys.exit(f"{method} {path}: {error}")
        time.sleep(PAUSE_SECONDS)


def body(model):
    """The smallest request of the endpoint."""
    if ENDPOINT == "/v1/chat/completions":
        return {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    if ENDPOINT == "/v1/completions":
        return {"model": model, "prompt": "Hello", "max_tokens": 8}
    return {"model": model, "input": "Hello"}


def upload(text):
    """The id of a file with that text."""
    edge = uuid.uuid4().hex
    form = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="smoke.jsonl"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{text}\r\n--{edge}--\r\n"
    )
    return json.loads(call("POST", "/v1/files", form.encode(), f"multipart/form-data; boundary={edge}"))["id"]


listed = {model["id"] for model in json.loads(call("GET", "/v1/models"))["data"]}
if missing := sorted(set(MODELS) - listed):
    sys.exit(f"the gateway does not list {', '.join(missing)}; look at the bootstrap's Job")

lines = [
    {"custom_id": f"smoke-{number}", "method": "POST", "url": ENDPOINT, "body": body(model)}
    for number, model in enumerate(MODELS)
]
file = upload("\n".join(json.dumps(line) for line in lines))
asked = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "1h"}
batch = json.loads(call("POST", "/v1/batches", json.dumps(asked).encode()))
while batch["status"] in ("validating", "in_progress", "finalizing"):
    if time.monotonic() > END:
        call("POST", f"/v1/batches/{batch['id']}/cancel", b"")
        sys.exit(
            f"{batch['id']} is {batch['status']} still, {batch['request_counts']}; it waits for {batch.get('waiting')}"
        )
    time.sleep(PAUSE_SECONDS)
    batch = json.loads(call("GET", f"/v1/batches/{batch['id']}"))
if batch["status"] != "completed" or batch["request_counts"]["completed"] != len(MODELS):
    sys.exit(f"{batch['id']} is {batch['status']}: {batch['request_counts']}, {batch.get('errors')}")
answers = call("GET", f"/v1/files/{batch['output_file_id']}/content").decode().splitlines()
for line in map(json.loads, answers):
    print(line["custom_id"], line["response"]["status_code"], line.get("backburner"))
print(f"{batch['id']}: an answer of each of {len(MODELS)} models")
