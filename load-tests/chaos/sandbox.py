"""A place of one run's own on servers that belong to others: a prefix, a root and a model that nobody else uses.

All of it is deleted afterwards: topics and groups, or queues, and every object, by aiokafka and boto3 alone. Each is
tried, whatever became of the others.
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
_GONE_GROUP = frozenset({0, 69})
"""No error, and `GROUP_ID_NOT_FOUND`."""
_GONE_TOPIC = frozenset({0, 3})
"""No error, and `UNKNOWN_TOPIC_OR_PARTITION`."""
_PAGE_OBJECTS = 1000
"""As many as one call may delete."""


@contextlib.contextmanager
def sandbox(bootstrap: str, sqs: SqsAddress | None, store: S3Address) -> Iterator[str]:
    """The name of the place: prefix, last part of the root, and model in one. What is there is deleted at the end.

    Raises `ExceptionGroup`, which names prefix and bucket, where something may be left.
    """
    name = f"certify-chaos-{secrets.token_hex(_NAME_BYTES)}"
    try:
        yield name
    finally:
        _delete(bootstrap, sqs, store, name)


def _delete(bootstrap: str, sqs: SqsAddress | None, store: S3Address, name: str) -> None:
    failed: list[Exception] = []
    if sqs is not None:
        with _noted(failed):
            _delete_queues(connect_sqs(sqs), name, failed)
    else:
        with _noted(failed):
            asyncio.run(_delete_topics(bootstrap, name, failed))
    prefix = f"{store.root.strip('/')}/{name}/".lstrip("/")
    with _noted(failed):
        _delete_objects(connect_store(store), store.bucket, prefix, failed)
    if failed:
        raise ExceptionGroup(
            f"not all was deleted: look for what begins with {name} on the queue, and with {prefix} in the bucket "
            f"{store.bucket}",
            failed,
        )


@contextlib.contextmanager
def _noted(failed: list[Exception]) -> Iterator[None]:
    """What fails within the block is noted, and the rest goes on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, what else there is has to be deleted
        failed.append(error)


async def _delete_topics(bootstrap: str, prefix: str, failed: list[Exception]) -> None:
    """Groups too. Topics go last, though not only if all groups went."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_CALL_MS)
    await admin.start()
    try:
        with _noted(failed):
            for group in [name for name, _ in await admin.list_consumer_groups() if name.startswith(f"{prefix}.")]:
                with _noted(failed):
                    gone = partial(_delete_group, admin, group)
                    await until(gone, f"the end of group {group}", seconds=_EMPTY_SECONDS)
        topics = [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]
        if topics:
            answer = await admin.delete_topics(topics)
            if left := {topic: code for topic, code in answer.topic_error_codes if code not in _GONE_TOPIC}:
                raise RuntimeError(f"topics that were not deleted, and the broker's codes: {left}")
    finally:
        await admin.close()


async def _delete_group(admin: Any, group: str) -> bool:
    """Whether it is gone now; not while it has members, the last of which may have left without a word."""
    node = await admin.find_coordinator(group)
    answer = await admin._send_request(DeleteGroupsRequest([group]), node)  # noqa: SLF001 - it has no method for that
    return all(code in _GONE_GROUP for _, code in answer.results)


def _delete_queues(client: Any, prefix: str, failed: list[Exception]) -> None:
    for page in client.get_paginator("list_queues").paginate(QueueNamePrefix=f"{prefix}-"):
        for url in page.get("QueueUrls", ()):
            with _noted(failed):
                client.delete_queue(QueueUrl=url)


def _delete_objects(client: Any, bucket: str, prefix: str, failed: list[Exception]) -> None:
    with _noted(failed):
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": _PAGE_OBJECTS}
        ):
            found = [{"Key": one["Key"]} for one in page.get("Contents", ())]
            if found:
                with _noted(failed):
                    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
                    if left := answer.get("Errors"):
                        raise RuntimeError(f"{len(left)} objects were not deleted, the first of them: {left[0]}")
    # What a process that was killed had begun to write.
    for one in client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", ()):
        with _noted(failed):
            client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
