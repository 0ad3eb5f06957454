"""A boto3 client of SQS, for those parts of the harness that must not use the product's."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config


@dataclass(frozen=True, slots=True)
class SqsAddress:
    """Where SQS is; without keys AWS's own chain finds them."""

    region: str
    endpoint: str | None
    access_key: str | None = None
    secret_key: str | None = None

    @classmethod
    def parse(cls, url: str, access_key: str | None = None, secret_key: str | None = None) -> "SqsAddress":
        """Of `sqs://region?endpoint=…`."""
        parts = urlsplit(url)
        return cls(parts.netloc, parse_qs(parts.query).get("endpoint", [None])[0], access_key, secret_key)


def connect(address: SqsAddress) -> Any:
    """A client that tries each call once: what fails may have been done, and the caller has to know that."""
    return boto3.client(
        "sqs",
        region_name=address.region,
        endpoint_url=address.endpoint,
        aws_access_key_id=address.access_key,
        aws_secret_access_key=address.secret_key,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
    )
