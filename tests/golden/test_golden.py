"""Every wire form, byte for byte. A change here is a change of the wire: see CONTRIBUTING.md before updating a file.

BACKBURNER_TEST_UPDATE_GOLDEN=1 writes the files anew instead of comparing.
"""

import json
import os
from pathlib import Path

import pytest

from backburner_schemas import keys, routing
from backburner_schemas.codec import Origin, Rules, decode, encode, encode_facts
from backburner_schemas.envelope import Address, DeliveryFacts, Envelope
from backburner_schemas.errors import ContextLengthExceeded, EngineLost, Expired
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts, Cursor, JobManifest, JobState, Prefix, Sealed, Summary, UsageTotals
from backburner_schemas.keys import SegmentName
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.names import Lane
from backburner_schemas.pool import PoolManifest, WorkerAnnouncement
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record, error_record, record_id
from backburner_schemas.segment import Line, encode_segment, read_digest
from backburner_schemas.status import JobView, derive

FILES = Path(__file__).parent / "files"
UPDATE = os.environ.get("BACKBURNER_TEST_UPDATE_GOLDEN") == "1"

NOW = 1_767_225_600.5  # 2026-01-01, half a second past midnight
JOB = "batch_7zzyfjptxz0000000000000000"
WRITER = "01kdvmx60000000000000000ab"
BODY = {
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": 'Say "hé" 😀\n'}],
    "max_tokens": 32,
    "temperature": 0.5,
    "stop": None,
}
LINE = json.dumps(
    {"custom_id": "row-1", "method": "POST", "url": "/v1/chat/completions", "body": BODY}, ensure_ascii=False
).encode()
ORIGIN = Origin("backburner.smollm2-135m-instruct.normal", "3-17", NOW)
ADDRESS = Address("acme", JOB, 17, "row-1")

ENVELOPE = Envelope(
    tenant="acme", job=JOB, index=17, custom_id="row-1", url="/v1/chat/completions", body=BODY, enqueued_at=NOW
)
SINGLE = Envelope(
    tenant="acme",
    job=f"single-{WRITER}",
    index=0,
    custom_id="req/1",
    url="/v1/completions",
    body={"model": "m", "prompt": "x"},
    deadline=NOW + 3600,
    answer="object",
    enqueued_at=NOW,
)
STORED_BODY = Envelope(
    tenant="acme",
    job=JOB,
    index=18,
    custom_id="row-2",
    url="/v1/embeddings",
    body_ref=keys.body("acme", JOB, 18),
    enqueued_at=NOW,
)
FACTS = DeliveryFacts(
    attempt=3,
    not_before=NOW + 2.25,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    failed_at=("gpu-a/3f9a1c20be", "gpu%20b/"),
)
ANSWERED = ResultRecord(
    id=record_id(ADDRESS),
    custom_id="row-1",
    response=ResponseBody(
        status_code=200,
        request_id="req-1",
        body={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "smollm2-135m-instruct",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hé 😀"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16},
        },
    ),
    backburner=ResultFacts(
        index=17,
        attempt=1,
        pool="smollm2-135m-instruct",
        worker=WRITER,
        group="gpu-a",
        version="vllm-0.32.0",
        release="3f9a1c20be",
        queue_s=0.25,
        engine_s=1.5,
        model="smollm2-135m-instruct",
        requested_model="gpt-4o-mini",
        failed_at=("canary/77d0e1a9c4",),
    ),
)
ANSWER = ANSWERED.model_copy(
    update={"id": record_id(SINGLE.address), "custom_id": "req/1", "backburner": ResultFacts(index=0)}
)
FAILED = error_record(
    ADDRESS, ContextLengthExceeded("the prompt has 600 tokens and the model takes 512", param="messages")
)
EXPIRED = error_record(Address("acme", JOB, 19, None), Expired())
SEGMENT_NAME = SegmentName(WRITER, 42, 1, 2, 12, 4, 1500)
MANIFEST = JobManifest(
    id=JOB,
    tenant="acme",
    created_at=NOW,
    deadline=NOW + 86_400,
    priority=Lane.HIGH,
    pool="smollm2-135m-instruct",
    metadata={"team": "é"},
    parent="batch_before",
)
SUMMARY = Summary(
    state=JobState.EXPIRED,
    counts=Counts(total=20, completed=17, failed=3),
    segments=(str(SEGMENT_NAME),),
    superseded=IndexSet.of([4]),
    missing=IndexSet.of([18]),
    missing_code="expired",
    duplicates=1,
    usage=UsageTotals(prompt_tokens=12, completion_tokens=4, engine_seconds=1.5),
    finalized_at=NOW + 100,
)
LETTER = StoredDeadLetter.of(
    EngineLost(), origin=ORIGIN, facts=DeliveryFacts(attempt=5, suspect=True), worker=WRITER, now=NOW, envelope=ENVELOPE
)
RAW_LETTER = StoredDeadLetter.of(
    EngineLost(), origin=ORIGIN, facts=DeliveryFacts(), worker=WRITER, now=NOW, raw=b"\xff no JSON"
)
STATUS = derive(JobView(manifest=MANIFEST, sealed=Sealed(total=20, sha256="", sealed_at=NOW), summary=SUMMARY))


def segment():
    return encode_segment(
        [
            Line(17, encode_record(ANSWERED), None, 12, 4, 1.5),
            Line(18, encode_record(FAILED), "context_length_exceeded"),
            Line(19, encode_record(EXPIRED), "expired"),
        ]
    )


def every_key():
    return {
        "pool": keys.pool("m"),
        "worker": keys.worker("m", "w/1"),
        "cancelled": keys.cancelled("acme", JOB),
        "open": keys.open_job("acme", JOB),
        "manifest": keys.manifest("acme", JOB),
        "job with an id of its user's": keys.named_job("acme", "monday", 1_767_225_600),
        "input": keys.stored_input("acme", JOB),
        "body": keys.body("acme", JOB, 18),
        "body in a stream": keys.body("acme", "stream-q-2026-01-01", "3-17"),
        "cursor": keys.cursor("acme", JOB),
        "sealed": keys.sealed("acme", JOB),
        "segment": keys.segment("acme", JOB, SEGMENT_NAME),
        "answer": keys.answer("acme", SINGLE.job, "req/1 é"),
        "answer with a long custom_id": keys.answer("acme", SINGLE.job, "x" * 201),
        "summary": keys.summary("acme", JOB),
        "dead letter": keys.dead_letter("acme", JOB, 17),
        "unaddressed letter": keys.unaddressed_letter(ORIGIN.queue, ORIGIN.position),
    }


def every_name():
    models = ["fake", "smollm2-135m-instruct", "Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct", "x" * 41]
    return {
        "pools": {model: routing.pool_name(model) for model in models},
        "topics": list(routing.topics("backburner", "fake")),
        "queues": [routing.queue("backburner", "fake", lane) for lane in Lane],
        "group": routing.group("backburner", "fake"),
        "partition keys": [routing.partition_key(one).decode() for one in (ENVELOPE, SINGLE)],
        "record id": record_id(ADDRESS),
    }


def pretty(value):
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


FORMS = {
    "line.json": lambda: LINE,
    "line-as-envelope.json": lambda: encode(decode(LINE, ORIGIN, Rules(tenant="acme"))),
    "envelope.json": lambda: encode(ENVELOPE),
    "envelope-answer-object.json": lambda: encode(SINGLE),
    "envelope-body-ref.json": lambda: encode(STORED_BODY),
    "headers.json": lambda: pretty([[name, value.decode()] for name, value in encode_facts(FACTS)]),
    "headers-suspect.json": lambda: pretty(
        [[name, value.decode()] for name, value in encode_facts(DeliveryFacts(attempt=2, suspect=True))]
    ),
    "result-ok.json": lambda: encode_record(ANSWERED),
    "result-error.json": lambda: encode_record(FAILED),
    "result-expired.json": lambda: encode_record(EXPIRED),
    "answer.json": lambda: encode_record(ANSWER),
    "segment.jsonl": segment,
    "job.json": lambda: MANIFEST.model_dump_json().encode(),
    "cursor.json": lambda: (
        Cursor(
            count=17,
            sha256="ab" * 32,
            owner=WRITER,
            updated_at=NOW,
            first=Prefix(count=2, sha256="cd" * 32),
            whole=Prefix(count=20, sha256="ef" * 32),
        )
        .model_dump_json()
        .encode()
    ),
    "sealed.json": lambda: Sealed(total=20, sha256="cd" * 32, sealed_at=NOW + 1, skipped=2).model_dump_json().encode(),
    "summary.json": lambda: SUMMARY.model_dump_json().encode(),
    "status.json": lambda: STATUS.model_dump_json().encode(),
    "pool.json": lambda: (
        PoolManifest(pool="qwen3-32b", model="Qwen3-32B", aliases=("gpt-4o-mini",), created_at=NOW)
        .model_dump_json()
        .encode()
    ),
    "worker.json": lambda: (
        WorkerAnnouncement(
            worker=WRITER,
            pool="qwen3-32b",
            models=("Qwen3-32B",),
            adapters=("sql-lora",),
            group="backburner.qwen3-32b",
            version="vllm-0.32.0",
            release="3f9a1c20be",
            started_at=NOW,
            seen_at=NOW + 60,
        )
        .model_dump_json()
        .encode()
    ),
    "letter.json": lambda: LETTER.model_dump_json(exclude_none=True).encode(),
    "letter-unaddressed.json": lambda: RAW_LETTER.model_dump_json(exclude_none=True).encode(),
    "keys.json": lambda: pretty(every_key()),
    "names.json": lambda: pretty(every_name()),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_wire_form_is_what_it_was(name):
    made = FORMS[name]()
    if UPDATE:
        (FILES / name).write_bytes(made)
    assert made == (FILES / name).read_bytes()


def test_every_golden_file_is_compared():
    assert {path.name for path in FILES.iterdir()} == set(FORMS)


def golden(name):
    return (FILES / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("job.json", JobManifest, MANIFEST),
        ("summary.json", Summary, SUMMARY),
        ("answer.json", ResultRecord, ANSWER),
        ("result-ok.json", ResultRecord, ANSWERED),
        ("result-error.json", ResultRecord, FAILED),
        ("result-expired.json", ResultRecord, EXPIRED),
        ("letter.json", StoredDeadLetter, LETTER),
        ("letter-unaddressed.json", StoredDeadLetter, RAW_LETTER),
    ],
)
def test_a_stored_form_is_read_back_as_what_it_was(name, kind, value):
    assert kind.model_validate_json(golden(name)) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("envelope.json", ENVELOPE), ("envelope-answer-object.json", SINGLE), ("envelope-body-ref.json", STORED_BODY)],
)
def test_an_envelope_is_read_back_as_what_it_was(name, value):
    assert decode(golden(name), ORIGIN, Rules()) == value


def test_a_segment_is_read_back_by_its_digest_and_line_by_line():
    data = golden("segment.jsonl")
    digest = read_digest(data)
    assert (str(digest.ok), str(digest.failed), str(digest.expired)) == ("17", "18-19", "19")
    assert [ResultRecord.model_validate_json(line) for line in data.splitlines()] == [ANSWERED, FAILED, EXPIRED]
