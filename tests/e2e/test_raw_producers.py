"""Raw Kafka producers beside the worker: plain lines, envelopes, and junk of every kind. The worker goes on."""

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from live import lines
from waiting import until

from backburner_schemas import keys

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 60
TOPIC = "backburner.fake.normal"


class Raw:
    """A producer that is aiokafka alone, and what it has to look for in the store."""

    def __init__(self, producer, stack, storage):
        self._producer = producer
        self._stack = stack
        self.storage = storage
        self.sent = []

    async def send(self, value, *, topic=TOPIC, headers=(), timestamp=None):
        """Send a dict as JSON, or bytes as they are; the index that its stream gives it."""
        data = json.dumps(value).encode() if isinstance(value, (dict, list)) else value
        key = b"key" if data is None else None
        at = await self._producer.send_and_wait(topic, data, key, headers=list(headers), timestamp_ms=timestamp)
        self.sent.append(at)
        return f"{at.partition}-{at.offset}"

    async def records(self, job, wanted, tenant="default"):
        """The records with these indexes, once all of them are there."""
        prefix = keys.segments(tenant, job)

        async def found():
            lines = {}
            async for segment in self.storage.scan(prefix):
                stored = await self.storage.get(segment.key)
                for line in map(json.loads, stored.data.splitlines()):
                    lines.setdefault(line["backburner"]["index"], []).append(line)
            return lines if set(wanted) <= lines.keys() else None

        lines = await until(found, f"records {sorted(wanted)} of {job}")
        assert {index: len(lines[index]) for index in wanted} == dict.fromkeys(wanted, 1)
        return {index: lines[index][0] for index in wanted}

    async def letter(self, key):
        async def found():
            return await self.storage.get(key)

        return json.loads((await until(found, f"the dead letter {key}")).data)

    async def all_committed(self):
        """Everything that was sent is settled and committed: nothing of it comes a second time."""
        ends = {}
        for at in self.sent:
            found = TopicPartition(at.topic, at.partition)
            ends[found] = max(ends.get(found, 0), at.offset + 1)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._stack.broker.bootstrap)
        await admin.start()

        async def done():
            marks = await admin.list_consumer_group_offsets("backburner.fake", partitions=list(ends))
            return all(marks[at].offset >= end for at, end in ends.items())

        try:
            await until(done, "committed offsets behind all that was sent")
        finally:
            await admin.close()


def stream(topic=TOPIC, when=None):
    return f"stream-{topic}-{when or datetime.now(UTC).strftime('%Y-%m-%d')}"


@pytest.fixture
async def raw(stack):
    connection = {"bootstrap_servers": stack.broker.bootstrap, "max_request_size": 20 << 20}
    async with AIOKafkaProducer(**connection, acks="all") as producer:
        yield Raw(producer, stack, stack.storage())


def envelope(**fields) -> Mapping[str, object]:
    request = lines(1)[0]
    address = {"v": 1, "tenant": "default", "job": "stream-own", "index": "one"}
    return {**address, "custom_id": "e", "url": request["url"], "body": request["body"], **fields}


async def test_plain_lines_are_answered_in_the_stream_of_their_topic_and_day(raw, client):
    # A repeated custom_id is a request of its own: the address is the place on the broker.
    first, second = lines(1, "[[echo]] same"), lines(1, "[[echo]] same")
    sent = [await raw.send(first[0]), await raw.send(second[0])]
    records = await raw.records(stream(), sent)
    assert {record["custom_id"] for record in records.values()} == {"r0"}
    for record in records.values():
        assert record["response"]["body"]["choices"][0]["message"]["content"] == "[[echo]] same"
        assert record["backburner"]["attempt"] == 1
    old = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
    late = await raw.send(lines(1)[0], timestamp=int(old.timestamp() * 1000))
    assert (await raw.records(stream(when="2026-01-02"), [late]))[late]["response"]["status_code"] == 200
    # A line of responses has its tokens in the names, too.
    asked = {**lines(1)[0], "url": "/v1/responses", "body": {"model": "fake", "input": "hello"}}
    later = await raw.send(asked, timestamp=int(old.timestamp() * 1000))
    answered = (await raw.records(stream(when="2026-01-02"), [later]))[later]["response"]["body"]
    listed = {found.id: found async for found in client.streams()}
    assert listed[stream()].request_counts.completed >= 2
    usage = listed[stream(when="2026-01-02")].usage
    assert usage.output_tokens > answered["usage"]["output_tokens"] > 0
    await raw.all_committed()


async def test_a_full_envelope_keeps_the_address_that_it_carries(raw):
    await raw.send(envelope(tenant="acme", job="stream-mine", index="seven"))
    record = (await raw.records("stream-mine", ["seven"], tenant="acme"))["seven"]
    assert (record["custom_id"], record["error"]) == ("e", None)
    # The version before is read as well, and what a later one adds is passed over.
    await raw.send(envelope(v=0, job="stream-mine", index="old", later_field=1))
    assert (await raw.records("stream-mine", ["old"]))["old"]["error"] is None
    await raw.all_committed()


async def test_an_envelope_may_ask_for_an_answer_of_its_own(raw):
    await raw.send(envelope(job="stream-single", index="x", custom_id="a b/c", answer="object"))
    answer = await raw.letter("tenants/default/jobs/stream-single/answers/a%20b%2Fc.json")
    assert (answer["custom_id"], answer["response"]["status_code"]) == ("a b/c", 200)


async def test_a_line_that_cannot_be_run_is_one_error_record(raw):
    good = lines(1)[0]
    body = good["body"]
    deep = "[" * 100 + "]" * 100
    bad = {
        "unknown_endpoint": {**good, "url": "/v1/images/generations"},
        "invalid_request": {**good, "custom_id": "x" * 513},
        "invalid_request 2": {"hello": "world"},
        "invalid_request 3": {**good, "body": {**body, "stream": True}},
        "invalid_request 4": {**good, "body": {"messages": []}},
        "invalid_request 5": {**good, "body": {**body, "messages": json.loads(deep)}},
        "unsupported_parameter": {**good, "body": {**body, "vllm_xargs": {}}},
        "model_not_found": {**good, "body": {**body, "model": "gpt-9"}},
        "invalid_json": json.dumps({**good, "body": {**body, "seed": 0.5}}).replace("0.5", "1e999").encode(),
        "body_too_large": {**good, "custom_id": "large", "body": {**body, "user": "x" * (9 << 20)}},
    }
    sent = {await raw.send(value): code.partition(" ")[0] for code, value in bad.items()}
    after = await raw.send(good)
    records = await raw.records(stream(), [*sent, after])
    assert {index: records[index]["error"]["code"] for index in sent} == sent
    assert all(records[index]["error"]["message"] for index in sent)
    by_code = {sent[index]: records[index] for index in sent}
    assert by_code["unsupported_parameter"]["error"]["param"] == "vllm_xargs"
    assert "gpt-9" in by_code["model_not_found"]["error"]["message"]
    # The custom_id is told wherever it is one.
    assert by_code["body_too_large"]["custom_id"] == "large"
    assert [records[index]["custom_id"] for index in sent][1] is None
    assert records[after]["response"]["status_code"] == 200
    await raw.all_committed()


async def test_what_cannot_be_addressed_is_one_dead_letter_each(raw):
    junk = {
        "no value": (None, "unaddressable"),
        "nothing": (b"", "unaddressable"),
        "no JSON": (b"\xff\x00 not json", "unaddressable"),
        "a list": ([], "unaddressable"),
        "a number": (b"17", "unaddressable"),
        "half a surrogate pair": (b'{"custom_id":"\\ud800","url":"/v1/completions","body":{}}', "unaddressable"),
        "very deep": (b"[" * 200_000, "unaddressable"),
        "a deep body": (b'{"custom_id":"c","body":' + b'{"a":' * 100_000, "unaddressable"),
        "a newer version": (envelope(v=2), "unsupported_version"),
        "a version that is none": (envelope(v="1"), "unaddressable"),
        "a tenant of others": (envelope(tenant="others"), "tenant_not_allowed"),
        "a tenant that is a path": (envelope(tenant="../x"), "unaddressable"),
        "a job that is a path": (envelope(job="a/../../b"), "unaddressable"),
        "an index that is none": (envelope(index=-1), "unaddressable"),
        "a fractional index": (envelope(index=1.5), "unaddressable"),
    }
    sent = {await raw.send(value): (value, code) for value, code in junk.values()}
    after = await raw.send(lines(1)[0])
    for index, (value, code) in sent.items():
        letter = await raw.letter(keys.unaddressed_letter(TOPIC, index))
        assert (letter["code"], letter["queue"], letter["position"]) == (code, TOPIC, index)
        assert letter["message"]
        data = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        assert base64.b64decode(letter["raw"]) == data
    assert (await raw.records(stream(), [after]))[after]["response"]["status_code"] == 200
    await raw.all_committed()


async def test_an_index_that_its_job_does_not_have_is_a_dead_letter_and_the_job_keeps_its_total(raw, client):
    # A job that nobody serves stays open while its topic's neighbour is written to.
    job = await client.submit(lines(3, model="nobody"))
    strays = [envelope(job=job.id, index=index) for index in (3, 10**12, "three")]
    for stray in strays:
        index = await raw.send(stray)
        assert (await raw.letter(keys.unaddressed_letter(TOPIC, index)))["code"] == "unaddressable"
    own = await raw.send(envelope(job=job.id, index=1))
    assert own
    assert (await raw.records(job.id, [1]))[1]["error"] is None
    status = await job.status()
    assert (status.request_counts.total, status.request_counts.completed) == (3, 1)
    books = await job.reconcile()
    assert (books.ok, books.strays) == (1, 0)
    await job.cancel()


@pytest.mark.parametrize("lane", ["normal", "retry"])
async def test_garbage_in_the_headers_counts_as_absent(raw, lane):
    topic = f"backburner.fake.{lane}"
    garbage = [
        [("attempt", b"\xff\xfe")],
        [("attempt", b"-5"), ("not_before", b"never")],
        [("attempt", b"1e400"), ("not_before", b"nan")],
        [("attempt", b""), ("not_before", struct.pack(">d", 1e12))],
        [("traceparent", b"\xff" * 300), ("suspect", b"perhaps")],
        [("attempt", None), ("suspect", None), ("traceparent", None), ("not_before", None)],
        [("something else", b"x" * 10_000)],
    ]
    sent = [await raw.send(lines(1)[0], topic=topic, headers=headers) for headers in garbage]
    too_many = await raw.send(lines(1)[0], topic=topic, headers=[("attempt", b"999999999")])
    records = await raw.records(stream(topic), [*sent, too_many])
    assert [records[index]["backburner"]["attempt"] for index in sent] == [1] * len(sent)
    # Believed, within bounds, on the lane alone that only workers may write.
    attempts = records[too_many]["backburner"]["attempt"]
    assert 1 < attempts < 999_999_999 if lane == "retry" else attempts == 1
    assert all(record["error"] is None for record in records.values())
    await raw.all_committed()


async def test_a_job_beside_a_flood_of_junk_completes(raw, client):
    flood = asyncio.gather(*(raw.send(b"junk %d" % number) for number in range(500)))
    job = await client.submit(lines(500))
    await flood
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 500)
    assert (await job.reconcile()).agrees
    await raw.all_committed()
