"""Uploads that last as long as the test wants: each is sent but for its end, a byte at a time from then on.

usage: held_uploads.py HOST:PORT COUNT FILE

It prints `started` when all are under way. Once FILE is there they are ended and read back; then it prints how many
came back as they were sent, and what went wrong with the others, as JSON. OPENAI_API_KEY is the key.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx2

_HELD_BYTES = 600
_PAUSE_SECONDS = 0.5
_BOUNDARY = "held"
_KEY = os.environ["OPENAI_API_KEY"]


def _file(number):
    message = {"role": "user", "content": f"Upload {number}. {'word ' * 400}"}
    line = {"custom_id": f"u{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps({**line, "body": {"model": "fake", "messages": [message]}}).encode() + b"\n"


def _form(content):
    purpose = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="held.jsonl"\r\n\r\n'
    return purpose.encode() + head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


async def _upload(address, number, finish, started):
    host, port = address.split(":")
    body = _form(_file(number))
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {_KEY}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:-_HELD_BYTES])
    await writer.drain()
    sent = len(body) - _HELD_BYTES
    started()
    while not finish.exists():
        writer.write(body[sent : sent + 1])
        sent += 1
        await writer.drain()
        await asyncio.sleep(_PAUSE_SECONDS)
    writer.write(body[sent:])
    answer = await reader.read()
    writer.close()
    head, _, text = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode()
    if " 200 " not in status:
        raise ConnectionError(f"{status or 'closed without an answer'}: {text[:300]!r}")
    return json.loads(text[text.index(b"{") : text.rindex(b"}") + 1])["id"]


async def _same(client, file, number):
    answer = await client.get(f"/v1/files/{file}/content")
    return answer.content == _file(number)


async def _main(address, count, finish):
    waiting = [*range(count)]

    def started():
        waiting.pop()
        if not waiting:
            print("started", flush=True)

    uploads = (_upload(address, number, finish, started) for number in range(count))
    ends = await asyncio.gather(*uploads, return_exceptions=True)
    failed = [repr(end) for end in ends if isinstance(end, BaseException)]
    headers = {"Authorization": f"Bearer {_KEY}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers) as client:
        same = [await _same(client, end, number) for number, end in enumerate(ends) if isinstance(end, str)]
    return {"same": sum(same), "failed": failed}


print(json.dumps(asyncio.run(_main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))))
