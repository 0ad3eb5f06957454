"""A dead letter's id and its reading: whatever lies in the store, nothing of it is trusted."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner.dead_letters.letter import DeadLetterRef, read_letter, write_letter
from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import JobError
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.names import MAX_INDEX, is_index, is_name

NAMES = st.from_regex(r"[a1][a1._-]{0,5}", fullmatch=True).filter(is_name)
INDEXES = st.integers(0, MAX_INDEX) | st.from_regex(r"[a1][a1._-]{0,5}", fullmatch=True).filter(is_index)


def envelope(**changes):
    fields = {
        "tenant": "acme",
        "job": "batch_1",
        "index": 7,
        "custom_id": "c7",
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": []},
    }
    return Envelope.model_validate({**fields, **changes})


def stored(**changes):
    fields = {
        "code": "engine_error",
        "message": "it broke",
        "attempts": 3,
        "worker": "w1",
        "queue": "q",
        "position": "0-1",
        "failed_at": 1.7e9,
        "envelope": envelope(),
    }
    return StoredDeadLetter.model_validate({**fields, **changes}).model_dump_json(exclude_none=True).encode()


REF = DeadLetterRef.parse("batch_1/7", "acme")


@given(NAMES, NAMES, INDEXES)
@example("t", "dead", "q")
@example("t", "j", "007")
def test_an_addressed_letters_id_leads_back_to_its_key(tenant, job, index):
    key = keys.dead_letter(tenant, job, index)
    found = DeadLetterRef.of(key)
    assert found is not None
    assert found.key == key
    assert DeadLetterRef.parse(found.id, tenant) == found


@given(NAMES, NAMES)
@example("backburner.fake.normal", "12-345")
@example("_odd..topic", "ab12cd34-0000")
def test_an_unaddressed_letters_id_leads_back_to_its_key(queue, position):
    key = keys.unaddressed_letter(queue, position)
    found = DeadLetterRef.of(key)
    assert found is not None
    assert (found.tenant, found.job, found.key) == (None, None, key)
    assert DeadLetterRef.parse(found.id, "anyone") == found


HOSTILE = [
    "",
    "/",
    "batch_1",
    "batch_1/",
    "/7",
    "../../x",
    "../x",
    "batch_1/..",
    "batch_1/../../x",
    "batch_1/7\n",
    "batch_1\n/7",
    "batch_1/7.json/..",
    "batch_1/" + "9" * 400,
    "x" * 300 + "/1",
    "dead/q",
    "dead/../x/y",
    "dead/../x",
    "dead/q/..",
    "dead/q/p/r",
    "dead/q/p\n",
    "dead/q\x00/p",
    "tenants/other/dead/batch_1/7.json",
    "batch_1/é",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_cannot_be_an_id_is_refused_with_the_right_form(text):
    if text == "dead/q":
        # A job may be called `dead`.
        assert DeadLetterRef.parse(text, "acme").key == "tenants/acme/dead/dead/q.json"
        return
    with pytest.raises(JobError, match="JOB/INDEX"):
        DeadLetterRef.parse(text, "acme")


@given(st.text(max_size=40))
def test_no_id_leaves_the_letters_of_its_tenant(text):
    try:
        ref = DeadLetterRef.parse(text, "acme")
    except JobError:
        return
    prefix = "tenants/acme/dead/" if ref.job is not None else "dead/"
    assert ref.key.startswith(prefix)
    assert not {"", ".", ".."} & set(ref.key.split("/"))


@pytest.mark.parametrize(
    "key", ["dead/q", "tenants/t/dead/j/7", "tenants/t/dead/a/b/7.json", "tenants/t/dead/../7.json"]
)
def test_a_key_that_is_no_letters_has_no_place(key):
    assert DeadLetterRef.of(key) is None


def test_a_letter_is_read_with_all_that_it_tells():
    letter = read_letter(REF, stored(suspect=True))
    assert (letter.id, letter.tenant, letter.job, letter.index) == ("batch_1/7", "acme", "batch_1", 7)
    assert (letter.custom_id, letter.code, letter.message) == ("c7", "engine_error", "it broke")
    assert (letter.attempts, letter.suspect, letter.worker, letter.failed_at) == (3, True, "w1", 1.7e9)
    assert (letter.problem, letter.stale, letter.raw) == (None, False, None)
    assert json.loads(write_letter(letter)) == json.loads(stored(suspect=True))


def test_an_index_that_looks_like_a_number_is_taken_from_the_envelope():
    letter = read_letter(REF, stored(envelope=envelope(index="7")))
    assert letter.problem is None
    assert letter.index == "7"


@pytest.mark.parametrize(
    "changes", [{"tenant": "other"}, {"job": "batch_2"}, {"index": 8}, {"tenant": "other", "job": "stream-x"}]
)
def test_an_envelope_of_another_request_is_trouble(changes):
    letter = read_letter(REF, stored(envelope=envelope(**changes)))
    assert "belongs to another request" in letter.problem
    assert (letter.tenant, letter.job, letter.index) == ("acme", "batch_1", 7)


@pytest.mark.parametrize(
    "reference",
    ["tenants/other/jobs/batch_1/bodies/7.json", "tenants/acme/jobs/batch_1/bodies/../../x.json", "job.json", ""],
)
def test_a_body_elsewhere_is_trouble(reference):
    letter = read_letter(REF, stored(envelope=envelope(body=None, body_ref=reference)))
    assert "body_ref" in letter.problem


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{}",
        b'{"code": 5}',
        b"[" * 100_000,
        stored().replace(b'"c7"', b'"\\ud800"'),
        stored().replace(b"batch_1", b"../../x"),
        stored(envelope=None, raw="not base64!"),
    ],
)
def test_a_letter_that_cannot_be_read_is_told_instead_of_raised(data):
    letter = read_letter(REF, data)
    assert letter.code == "store_object_broken"
    assert "cannot be read" in letter.problem
    assert letter.envelope is None


@pytest.mark.parametrize("moment", ["1e300", "-5", '"NaN"', '"inf"'])
def test_a_moment_that_no_calendar_holds_is_cut(moment):
    data = stored().replace(b"1700000000.0", moment.encode())
    assert 0 <= read_letter(REF, data).failed_at < 1e12


def test_a_message_without_a_request_keeps_its_bytes_and_is_never_redriven():
    data = stored(envelope=None, raw=base64.b64encode(b"\xff junk").decode())
    unaddressed = read_letter(DeadLetterRef.parse("dead/q/0-1", "acme"), data)
    assert unaddressed.raw == b"\xff junk"
    assert "belongs to no request" in unaddressed.problem
    assert "no envelope" in read_letter(REF, data).problem


def test_an_envelope_without_a_place_in_its_job_is_never_redriven():
    letter = read_letter(DeadLetterRef.parse("dead/q/0-1", "acme"), stored(code="unaddressable"))
    assert "belongs to no request" in letter.problem
    assert (letter.tenant, letter.job, letter.index, letter.custom_id) == (None, None, None, "c7")
