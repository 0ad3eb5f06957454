"""Reads results by S3 alone, as `aws s3 cp --recursive` does: every record below a job's segments, as JSON.

usage: read_results.py BUCKET PREFIX ENDPOINT; prints `{custom_id: [text, worker]}`. The rest are AWS's own variables.
"""

import json
import sys

import boto3

bucket, prefix, endpoint = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
found = {}
for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    for one in page.get("Contents", ()):
        if one["Key"].endswith(".jsonl") and "/segments/" in one["Key"]:
            body = client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            for line in body.decode().splitlines():
                record = json.loads(line)
                text = record["response"]["body"]["choices"][0]["message"]["content"]
                found[record["custom_id"]] = [text, record["backburner"]["worker"]]
print(json.dumps(found))
