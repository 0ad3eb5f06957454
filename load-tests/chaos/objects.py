"""Reads object storage by boto3 alone, for the checker. It shares nothing with the product's own storage code."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
from botocore.config import Config

_READER_COUNT = 16
_RECORDS = re.compile(r"/(segments|answers|dead)/|/(sealed|summary)\.json$")
"""What a checker reads."""


class Objects(Protocol):
    """Objects under the deployment's root."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins so, in key order."""
        ...

    def read(self, key: str) -> bytes | None:
        """The object, or None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where an S3 bucket is."""

    bucket: str
    root: str
    endpoint: str | None
    region: str | None
    access_key: str | None = None
    secret_key: str | None = None


def connect(address: S3Address) -> Any:
    """A boto3 client of the store."""
    return boto3.client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region,
        aws_access_key_id=address.access_key,
        aws_secret_access_key=address.secret_key,
        config=Config(
            retries={"max_attempts": 8, "mode": "standard"}, read_timeout=30, max_pool_connections=_READER_COUNT
        ),
    )


class S3Objects:
    """Objects in an S3 bucket."""

    def __init__(self, address: S3Address) -> None:
        self._bucket = address.bucket
        self._root = f"{address.root.strip('/')}/" if address.root.strip("/") else ""
        self._client = connect(address)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins so, in key order."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._root + prefix):
            for one in page.get("Contents", ()):
                yield one["Key"][len(self._root) :]

    def read(self, key: str) -> bytes | None:
        """The object, or None if there is none."""
        try:
            found: bytes = self._client.get_object(Bucket=self._bucket, Key=self._root + key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return found


class ReadAhead:
    """Objects whose records are read when they are first asked for, many at once: a run has thousands of small ones."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._read: dict[str, bytes | None] | None = None

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins so, in key order."""
        return self._objects.keys(prefix)

    def read(self, key: str) -> bytes | None:
        """The object, or None if there is none."""
        if self._read is None:
            wanted = [found for found in self.keys("tenants/") if _RECORDS.search(found)]
            with ThreadPoolExecutor(_READER_COUNT) as readers:
                self._read = dict(zip(wanted, readers.map(self._objects.read, wanted), strict=True))
        return self._read[key] if key in self._read else self._objects.read(key)
