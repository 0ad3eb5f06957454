"""A place of one run's own on servers that belong to others: a prefix, a root and a model that nobody else uses.

All of it is deleted afterwards: topics and groups, or queues, and every object, by aiokafka and boto3 alone.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DeleteGroupsRequest

from chaos.objects import S3Address
from chaos.objects import connect as connect_store
from chaos.patience import until
from chaos.sqs_client import SqsAddress
from chaos.sqs_client import connect as connect_sqs

_NAME_BYTES = 4
_CALL_MS = 30_000
_EMPTY_SECONDS = 60.0
"""Longer than any session."""
_GONE = frozenset({0, 69})
"""No error, and `GROUP_ID_NOT_FOUND`."""
_PAGE_OBJECTS = 1000
"""As many as one call may delete."""


@contextlib.contextmanager
def sandbox(bootstrap: str, sqs: SqsAddress | None, store: S3Address) -> Iterator[str]:
    """The name of the place: prefix, last part of the root, and model in one. What is there is deleted at the end."""
    name = f"certify-chaos-{secrets.token_hex(_NAME_BYTES)}"
    try:
        yield name
    finally:
        if sqs is not None:
            _delete_queues(connect_sqs(sqs), name)
        else:
            asyncio.run(_delete_topics(bootstrap, name))
        _delete_objects(connect_store(store), store.bucket, f"{store.root.strip('/')}/{name}/".lstrip("/"))


async def _delete_topics(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_CALL_MS)
    await admin.start()
    try:
        groups = [name for name, _ in await admin.list_consumer_groups() if name.startswith(f"{prefix}.")]
        for group in groups:
            await until(partial(_delete_group, admin, group), f"the end of group {group}", seconds=_EMPTY_SECONDS)
        topics = [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()


async def _delete_group(admin: Any, group: str) -> bool:
    """Whether it is gone now; not while it has members, the last of which may have left without a word."""
    node = await admin.find_coordinator(group)
    answer = await admin._send_request(DeleteGroupsRequest([group]), node)  # noqa: SLF001 - it has no method for that
    return all(code in _GONE for _, code in answer.results)


def _delete_queues(client: Any, prefix: str) -> None:
    for page in client.get_paginator("list_queues").paginate(QueueNamePrefix=f"{prefix}-"):
        for url in page.get("QueueUrls", ()):
            client.delete_queue(QueueUrl=url)


def _delete_objects(client: Any, bucket: str, prefix: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": _PAGE_OBJECTS}
    ):
        found = [{"Key": one["Key"]} for one in page.get("Contents", ())]
        if found:
            client.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
    # What a process that was killed had begun to write.
    for one in client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
