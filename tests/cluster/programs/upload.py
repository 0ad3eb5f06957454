"""Puts files into a bucket, by S3 alone; prints how many, as JSON. usage: upload.py BUCKET FOLDER ENDPOINT FILE…"""

import json
import sys
from pathlib import Path

import boto3

bucket, folder, endpoint, *files = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
for file in map(Path, files):
    client.upload_file(str(file), bucket, f"{folder}/{file.name}")
print(json.dumps(len(files)))
