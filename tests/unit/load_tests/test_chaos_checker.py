"""The fault harness's checker: a store that keeps every promise passes, and each way to break one is seen."""

import json
from dataclasses import replace

import httpx2
import pytest

from chaos.answers import difference, digest, request_id, texts
from chaos.book import Asked, Book, Expect, Told, ToldFile
from chaos.checker import check
from chaos.gateway_client import GatewayClient
from chaos.objects import ReadAhead
from chaos.queue_state import QueuedMessage, QueueState

URL = "/v1/chat/completions"
JOB, SINGLE, STREAM = "job-1", "single-1", "stream-backburner.fake.normal-2026-01-01"
FIRST = f"tenants/default/jobs/{JOB}/segments/a-00000000-2ok-0err-2in-2out-2ms.jsonl"
SECOND = f"tenants/default/jobs/{JOB}/segments/b-00000000-1ok-2err-2in-2out-2ms.jsonl"
SUMMARY = f"tenants/default/jobs/{JOB}/summary.json"
ANSWER = f"tenants/default/jobs/{SINGLE}/answers/single.json"
LETTER = f"tenants/default/dead/{JOB}/3.json"
STREAMED = f"tenants/default/jobs/{STREAM}/segments/a-00000001-1ok-0err-2in-2out-2ms.jsonl"


class Store:
    """Objects in memory, and what a test does to them."""

    def __init__(self):
        self.objects = {}

    def keys(self, prefix):
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def read(self, key):
        return self.objects.get(key)

    def put(self, key, *values):
        tail = b"\n" if key.endswith(".jsonl") else b""
        self.objects[key] = b"\n".join(json.dumps(value).encode() for value in values) + tail

    def values(self, key):
        return [json.loads(line) for line in self.objects[key].splitlines()]


def asked(custom_id, expect=Expect.ANSWER, **place):
    body = {"model": "fake", "messages": [{"role": "user", "content": f"Prompt of {custom_id}, é"}]}
    return Asked(custom_id, URL, body, expect, accepted=True, **place)


def record(one, job, index):
    text = digest(URL, one.body)
    body = {
        "id": f"chatcmpl-{text}",
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": texts(URL, one.body)[0]}}],
    }
    code = {Expect.REFUSED: "invalid_request", Expect.POISON: "poison"}.get(one.expect)
    return {
        "id": request_id("default", job, index),
        "custom_id": one.custom_id,
        "response": None if code else {"status_code": 200, "request_id": "r", "body": body},
        "error": {"code": code, "message": "m"} if code else None,
        "backburner": {"index": index},
    }


@pytest.fixture
def whole():
    """A book, a store and a queue in which every promise was kept."""
    job = [asked("a"), asked("b"), asked("c", Expect.REFUSED), asked("d", Expect.POISON)]
    for index, one in enumerate(job):
        one.job, one.index = JOB, index
    single, line = asked("single", job=SINGLE, index=0), asked("line")
    book = Book("default", "backburner", "fake", {JOB: job}, [single], [line])
    store = Store()
    # The second index is stored twice: once as an error, by a worker that was killed before it settled.
    failed = {**record(job[1], JOB, 1), "response": None, "error": {"code": "engine_error", "message": "m"}}
    store.put(FIRST, {"segment": {"v": 1, "ok": "0"}, **record(job[0], JOB, 0)}, failed)
    store.put(SECOND, *(record(one, JOB, index) for index, one in enumerate(job) if index > 0))
    store.put(f"tenants/default/jobs/{JOB}/job.json", {"id": JOB})
    store.put(f"tenants/default/jobs/{JOB}/sealed.json", {"total": 4})
    names = [key.rpartition("/")[2] for key in (FIRST, SECOND)]
    counts = {"total": 4, "completed": 2, "failed": 2}
    store.put(SUMMARY, {"state": "completed", "counts": counts, "segments": names, "missing": ""})
    store.put(ANSWER, record(single, SINGLE, 0))
    store.put(STREAMED, record(line, STREAM, "3-17"))
    store.put(LETTER, {"code": "poison", "envelope": {"v": 1}})
    messages = [
        *(QueuedMessage(one.custom_id, JOB, index) for index, one in enumerate(job)),
        QueuedMessage("single", SINGLE, 0),
        QueuedMessage("line", STREAM, "3-17"),
    ]
    return book, store, QueueState(messages=messages)


def test_a_store_that_kept_every_promise_passes(whole):
    verdict = check(*whole)
    assert verdict.breaches == []
    assert (verdict.accepted, verdict.visible, verdict.answered, verdict.failed) == (6, 6, 4, 2)
    assert (verdict.letters, verdict.stored_twice) == (1, 1)


def edit(store, key, number, **fields):
    values = store.values(key)
    values[number] |= fields
    store.put(key, *values)


def drop(store, key, number):
    values = store.values(key)
    del values[number]
    store.put(key, *values)


def swap_answers(store):
    first, second = store.values(FIRST), store.values(SECOND)
    first[0]["response"], second[0]["response"] = second[0]["response"], first[0]["response"]
    store.put(FIRST, *first)
    store.put(SECOND, *second)


def change_text(store, text="something else"):
    (value,) = store.values(ANSWER)
    value["response"]["body"]["choices"][0]["message"]["content"] = text
    store.put(ANSWER, value)


def cut_text(store):
    (value,) = store.values(ANSWER)
    text = value["response"]["body"]["choices"][0]["message"]["content"]
    change_text(store, text.rpartition(" ")[0])


def add_choice(store):
    (value,) = store.values(ANSWER)
    choices = value["response"]["body"]["choices"]
    choices.append({"index": 1, "message": choices[0]["message"]})
    store.put(ANSWER, value)


def change_status(store):
    (value,) = store.values(ANSWER)
    value["response"]["status_code"] = 500
    store.put(ANSWER, value)


def add_record(store, key, **fields):
    values = store.values(key)
    store.put(key, *values, {**values[-1], **fields})


BREAKS = {
    "a record of a job is gone": (lambda store: drop(store, SECOND, 0), "wrong end"),
    "a refusal is gone": (lambda store: drop(store, SECOND, 1), "lost"),
    "a segment is gone": (lambda store: store.objects.pop(SECOND), "segment gone"),
    "an answer object is gone": (lambda store: store.objects.pop(ANSWER), "lost"),
    "a stream's segment is gone": (lambda store: store.objects.pop(STREAMED), "lost"),
    "two answers are swapped": (swap_answers, "mixed up"),
    "an answer is changed": (change_text, "mixed up"),
    "an answer is cut off": (cut_text, "mixed up"),
    "an answer has a choice too many": (add_choice, "mixed up"),
    "an answer has the status of a failure": (change_status, "wrong end"),
    "an answer became an error without a code": (
        lambda store: edit(store, ANSWER, 0, response=None, error={"code": None, "message": "m"}),
        "wrong end",
    ),
    "a custom_id is changed": (lambda store: edit(store, FIRST, 0, custom_id="z"), "mixed up"),
    "a record's id is changed": (lambda store: edit(store, FIRST, 0, id="batch_req_0"), "mixed up"),
    "an error has another code": (
        lambda store: edit(store, SECOND, 1, error={"code": "expired", "message": "m"}),
        "wrong end",
    ),
    "an index is added to a job": (lambda store: add_record(store, FIRST, backburner={"index": 4}), "invented"),
    "an index is added to a stream": (
        lambda store: add_record(store, STREAMED, backburner={"index": "3-18"}),
        "invented",
    ),
    "a job is added": (
        lambda store: store.put("tenants/default/jobs/single-2/answers/x.json", *store.values(ANSWER)),
        "invented",
    ),
    "another tenant has a job": (lambda store: store.put("tenants/t/jobs/j/job.json", {}), "invented"),
    "a summary is gone": (lambda store: store.objects.pop(SUMMARY), "not frozen"),
    "a summary counts wrong": (
        lambda store: edit(store, SUMMARY, 0, counts={"total": 4, "completed": 3, "failed": 1}),
        "wrong counts",
    ),
    "a summary lists too little": (
        lambda store: edit(store, SUMMARY, 0, segments=[FIRST.rpartition("/")[2]]),
        "lost",
    ),
    "a job was cut off": (lambda store: edit(store, SUMMARY, 0, state="expired"), "cut off"),
    "a request counts as missing": (lambda store: edit(store, SUMMARY, 0, missing="2-3"), "cut off"),
    "a letter is gone": (lambda store: store.objects.pop(LETTER), "letter"),
    "a letter has another code": (lambda store: edit(store, LETTER, 0, code="engine_error"), "letter"),
    "a letter is added": (
        lambda store: store.put(f"tenants/default/dead/{JOB}/0.json", {"code": "poison"}),
        "letter",
    ),
    "another tenant has a letter": (lambda store: store.put("tenants/t/dead/j/0.json", {"code": "poison"}), "letter"),
    "a letter without an address is there": (lambda store: store.put("dead/queue/1", {}), "letter"),
    "a segment is cut short": (
        lambda store: store.objects.update({FIRST: store.objects[FIRST][:-20]}),
        "malformed",
    ),
    "a job is left open": (lambda store: store.put(f"open/default/{JOB}", {}), "left in open/"),
    "a job is left pending": (lambda store: store.put(f"pending/default/{JOB}", {}), "left in pending/"),
    "a suspect's mark is left": (lambda store: store.put(f"markers/suspects/default/{JOB}/3", {}), "left in markers/"),
    "a cancel's mark is left": (lambda store: store.put(f"markers/cancelled/default/{JOB}", {}), "left in markers/"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_is_seen(whole, what):
    book, store, queue = whole
    breaking, kind = BREAKS[what]
    breaking(store)
    verdict = check(book, store, queue)
    assert not verdict.kept
    assert [breach for breach in verdict.breaches if breach.startswith(kind)], verdict.breaches


def test_an_offset_that_is_not_committed_is_a_breach(whole):
    book, store, queue = whole
    state = QueueState(["offsets: behind"], queue.messages)
    assert check(book, store, state).breaches == ["offsets: behind"]


def test_an_accepted_line_that_the_log_does_not_hold_is_lost(whole):
    book, store, queue = whole
    state = QueueState(messages=[one for one in queue.messages if one.custom_id != "line"])
    assert any(breach.startswith("lost: line") for breach in check(book, store, state).breaches)


def test_a_message_that_nobody_sent_is_invented(whole):
    book, store, queue = whole
    state = QueueState(messages=[*queue.messages, QueuedMessage("stranger", "single-9", 0)])
    assert any("stranger" in breach for breach in check(book, store, state).breaches)


def test_what_the_sender_was_not_sure_of_must_have_its_record_if_the_log_holds_it(whole):
    book, store, queue = whole
    book.singles.append(unsure := asked("unsure"))
    unsure.accepted = False
    assert check(book, store, queue).kept
    held = QueueState(messages=[*queue.messages, QueuedMessage("unsure", "single-2", 0)])
    assert not check(book, store, held).kept
    store.put("tenants/default/jobs/single-2/answers/unsure.json", record(unsure, "single-2", 0))
    assert check(book, store, held).kept


def test_without_a_log_what_the_sender_was_not_sure_of_may_have_its_record(whole):
    book, store, _ = whole
    (line,) = book.raw
    line.job, line.index = STREAM, "3-17"
    book.singles.append(unsure := asked("unsure"))
    unsure.accepted = False
    assert check(book, store, QueueState()).kept
    store.put("tenants/default/jobs/single-2/answers/unsure.json", record(unsure, "single-2", 0))
    assert check(book, store, QueueState()).kept
    book.raw.append(heard := asked("heard"))
    heard.accepted = False
    store.put(STREAMED, record(line, STREAM, "3-17"), record(heard, STREAM, "3-18"))
    assert check(book, store, QueueState()).kept
    store.put("tenants/default/jobs/single-3/answers/other.json", record(asked("other"), "single-3", 0))
    assert not check(book, store, QueueState()).kept


def test_a_message_that_the_log_holds_twice_needs_a_record_for_each_place(whole):
    book, store, queue = whole
    state = QueueState(messages=[*queue.messages, QueuedMessage("line", STREAM, "3-18")])
    assert not check(book, store, state).kept
    line = book.raw[0]
    store.put(STREAMED, record(line, STREAM, "3-17"), record(line, STREAM, "3-18"))
    assert check(book, store, state).kept


def test_an_answer_that_no_listing_has_is_found_by_its_name(whole):
    book, store, queue = whole
    listed = store.keys
    store.keys = lambda prefix: (key for key in listed(prefix) if key != ANSWER)
    assert check(book, store, queue).kept
    del store.objects[ANSWER]
    assert any(breach.startswith("lost: single-1") for breach in check(book, store, queue).breaches)


def test_what_is_read_ahead_is_what_is_there(whole):
    book, store, queue = whole
    store.put(f"tenants/default/jobs/{JOB}/input.jsonl", {})
    ahead = ReadAhead(store)
    assert check(book, ahead, queue).breaches == []
    assert {key: ahead.read(key) for key in store.objects} == store.objects
    assert ahead.read("tenants/default/jobs/j/answers/none.json") is None
    del store.objects[ANSWER]
    assert not check(book, ReadAhead(store), queue).kept


class Gateway(GatewayClient):
    """A client of a gateway that gives these lines, by file."""

    def __init__(self, lines):
        self._lines = lines

    async def _call(self, method, path, **_):
        if path == f"/batches/{JOB}":
            counts = {"total": 4, "completed": 2, "failed": 2}
            files = {file: file for file in ToldFile}
            return httpx2.Response(200, json={"status": "completed", "request_counts": counts, **files})
        return httpx2.Response(200, text="".join(json.dumps(line) + "\n" for line in self._lines[path.split("/")[2]]))


def told_line(record):
    """An error record as docs/gateway.md tells it, anything else as it is stored."""
    if record["error"] is None:
        return record
    response = {"status_code": 422, "request_id": record["id"], "body": {"error": record["error"]}}
    return {**record, "response": response, "error": None}


@pytest.fixture
async def told(whole):
    """The same, with the job as a batch of the gateway's, and what the gateway tells of it."""
    book, store, queue = whole
    a, b, c, d = (told_line(one) for one in (store.values(FIRST)[0], *store.values(SECOND)))
    book.told[JOB] = await Gateway({ToldFile.OUTPUT: [a, b], ToldFile.ERRORS: [c, d]}).batch(JOB)
    return book, store, queue


def change_told(book, **fields):
    was = book.told[JOB]
    book.told[JOB] = Told(**{"status": was.status, "counts": was.counts, "lines": was.lines} | fields)


TOLD_WRONG = {
    "another end": lambda told: {"status": "expired"},
    "other counts": lambda told: {"counts": (4, 3, 1)},
    "a line too few": lambda told: {"lines": told.lines[1:]},
    "a line twice": lambda told: {"lines": [*told.lines, told.lines[0]]},
    "a line in both files": lambda told: {"lines": [*told.lines, replace(told.lines[0], file=ToldFile.ERRORS)]},
    "a line of nobody": lambda told: {"lines": [*told.lines, replace(told.lines[0], custom_id="stranger")]},
    "another response": lambda told: first_line(told, body={"id": "x"}),
    "another status": lambda told: first_line(told, status=500),
    "a response in the error file": lambda told: first_line(told, file=ToldFile.ERRORS),
    "an error in the output file": lambda told: last_line(told, file=ToldFile.OUTPUT),
    "a response for an error": lambda told: last_line(told, status=200, body={}),
    "a failure with a good status": lambda told: last_line(told, status=200),
    "another error": lambda told: last_line(told, body={"error": {"code": "expired"}}),
    "a failure as one that never ran": lambda told: last_line(told, status=None, body=None, error={"code": "poison"}),
    "a failure that tells no error": lambda told: last_line(told, status=None, body=None),
}


def first_line(told, **fields):
    return {"lines": [replace(told.lines[0], **fields), *told.lines[1:]]}


def last_line(told, **fields):
    return {"lines": [*told.lines[:-1], replace(told.lines[-1], **fields)]}


def test_a_batch_that_is_told_as_it_is_stored_passes(told):
    assert check(*told).breaches == []


@pytest.mark.parametrize("what", TOLD_WRONG)
def test_what_a_gateway_tells_wrong_is_seen(told, what):
    book, store, queue = told
    change_told(book, **TOLD_WRONG[what](book.told[JOB]))
    breaches = check(book, store, queue).breaches
    assert breaches
    assert all(breach.startswith("told: ") for breach in breaches)


def test_the_real_engines_answers_are_held_to_their_form_alone(whole):
    book, store, queue = whole
    change_text(store)
    assert check(book, store, queue, fake=False).kept
    (value,) = store.values(ANSWER)
    del value["response"]["body"]["choices"]
    store.put(ANSWER, value)
    assert not check(book, store, queue, fake=False).kept


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"max_tokens": 5, "n": 2}, {"max_completion_tokens": 1}, {"n": None}])
async def test_the_checkers_function_is_the_fake_engines(fields):
    from backburner_schemas.request import Endpoint
    from backburner_worker.engine.base import EngineRequest
    from backburner_worker.engine.fake.engine import FakeEngine

    engine = FakeEngine()
    for number in range(20):  # The text begins at one of twelve words.
        body = {**asked(f"a{number}").body, **fields}
        answer = (await engine.run(EngineRequest("r", Endpoint.CHAT, body))).body
        assert difference(URL, body, answer, fake=True) is None
        assert difference(URL, body, answer, fake=False) is None
