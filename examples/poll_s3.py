"""The fourth way: poll object storage for results. Here boto3 alone; nothing of Backburner is imported.

Results are JSON lines in `tenants/{tenant}/jobs/{job}/segments/`. Each object is written once and never changes, so a
poller remembers which keys it has read. A request that was run twice can stand in two segments: keep one an index.
Run it after `. .backburner/env`:  python examples/poll_s3.py JOB_PREFIX EXPECTED [SECONDS]
`stream-` finds what raw producers sent, a job's id finds that job.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3


def records(client: Any, bucket: str, prefix: str, seen: set[str]) -> Iterator[dict[str, Any]]:
    """The records in segments that were not seen yet."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for listed in page.get("Contents", ()):
            key = listed["Key"]
            if "/segments/" in key and key not in seen:
                seen.add(key)
                yield from map(json.loads, client.get_object(Bucket=bucket, Key=key)["Body"].iter_lines())


def main(job_prefix: str, expected: int, seconds: float = 120.0) -> int:
    bucket, _, root = os.environ["BACKBURNER_STORE_URL"].removeprefix("s3://").partition("/")
    tenant = os.environ.get("BACKBURNER_TENANT", "default")
    client = boto3.client("s3", endpoint_url=os.environ.get("BACKBURNER_STORE_ENDPOINT"))
    prefix = f"{root}/tenants/{tenant}/jobs/{job_prefix}".lstrip("/")
    seen: set[str] = set()
    found: dict[Any, dict[str, Any]] = {}
    end = time.monotonic() + seconds
    while len(found) < expected and time.monotonic() < end:
        for record in records(client, bucket, prefix, seen):
            if found.setdefault(record["backburner"]["index"], record) is record:
                answer = record["response"] or record["error"]
                print(record["custom_id"], json.dumps(answer.get("body", answer))[:160])
        time.sleep(0.5)
    print(f"{len(found)} of {expected} records")
    return 0 if len(found) >= expected else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])))
