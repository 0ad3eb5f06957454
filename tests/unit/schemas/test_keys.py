"""Object keys: nothing leaves its prefix, nothing collides, and names sort as promised."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas import keys
from backburner_schemas.keys import SegmentName
from backburner_schemas.names import MAX_INDEX, is_index, is_name

# A small alphabet makes collisions likely where they are possible.
NAMES = st.from_regex(r"[a1][a1._-]{0,5}", fullmatch=True).filter(is_name)
INDEXES = st.integers(0, MAX_INDEX) | st.from_regex(r"[a1][a1._-]{0,5}", fullmatch=True).filter(is_index)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512)
WRITER = "0" * 26
COUNTS = st.integers(0, 10**17)
SEGMENTS = st.builds(
    SegmentName,
    writer=st.just(WRITER),
    sequence=st.integers(0, 10**8 - 1),
    ok=COUNTS,
    failed=COUNTS,
    prompt_tokens=COUNTS,
    completion_tokens=COUNTS,
    engine_ms=COUNTS,
)


def every_key(tenant, job, index, custom_id):
    """Each kind of key that a tenant's names go into, by kind."""
    return {
        "manifest": keys.manifest(tenant, job),
        "cursor": keys.cursor(tenant, job),
        "sealed": keys.sealed(tenant, job),
        "summary": keys.summary(tenant, job),
        "input": keys.stored_input(tenant, job),
        "body": keys.body(tenant, job, index),
        "answer": keys.answer(tenant, job, custom_id),
        "segment": keys.segment(tenant, job, SegmentName(WRITER, 1, 1, 0, 0, 0, 0)),
        "dead": keys.dead_letter(tenant, job, index),
        "plan": keys.redrive_plan(tenant, job),
        "batch": keys.redrive_batch(tenant, job, WRITER),
        "open": keys.open_job(tenant, job),
        "cancelled": keys.cancelled(tenant, job),
        "paused": keys.paused(tenant, job),
        "pending": keys.pending(tenant, job),
        "order": keys.plan(tenant, job),
        "file": keys.file(tenant, job),
        "content": keys.content(tenant, job),
        "upload": keys.upload(tenant, job) + "upload.json",
        "entry": keys.batch(tenant, job),
        "idempotency": keys.idempotency(tenant, "ab12"),
        "audit": keys.audit(tenant, "2026-11-28") + "1.jsonl",
    }


@given(NAMES, NAMES, INDEXES, IDS)
def test_every_key_stays_under_its_own_prefix(tenant, job, index, custom_id):
    for kind, key in every_key(tenant, job, index, custom_id).items():
        prefix = {
            "dead": f"tenants/{tenant}/dead/{job}/",
            "plan": f"tenants/{tenant}/redrives/{job}/",
            "batch": f"tenants/{tenant}/redrives/{job}/",
            "open": f"open/{tenant}/",
            "cancelled": f"markers/cancelled/{tenant}/",
            "paused": f"markers/paused/{tenant}/",
            "pending": f"pending/{tenant}/",
            "file": f"tenants/{tenant}/files/",
            "content": f"tenants/{tenant}/contents/",
            "upload": f"tenants/{tenant}/uploads/",
            "entry": f"tenants/{tenant}/batches/",
            "idempotency": f"tenants/{tenant}/idempotency/",
            "audit": f"tenants/{tenant}/audit/",
        }.get(kind, f"tenants/{tenant}/jobs/{job}/")
        assert key.startswith(prefix)
        assert not {"", ".", ".."} & set(key.split("/"))
        assert key.isascii()
        assert key.isprintable()
        assert len(key) <= 1024


@given(st.tuples(NAMES, NAMES, INDEXES, IDS), st.tuples(NAMES, NAMES, INDEXES, IDS))
def test_keys_of_different_requests_are_different(one, other):
    mine, theirs = every_key(*one), every_key(*other)
    assert len(set(mine.values())) == len(mine)
    for kind, key in mine.items():
        parts = {"body": 3, "dead": 3, "answer": (0, 1, 3), "idempotency": 1, "audit": 1}.get(kind, 2)
        same = all(str(one[part]) == str(other[part]) for part in (range(parts) if isinstance(parts, int) else parts))
        assert (key == theirs[kind]) == same
        assert key not in {found for name, found in theirs.items() if name != kind}


def test_a_custom_id_that_looks_like_a_hash_does_not_take_the_place_of_a_long_one():
    long = "x" * 300
    taken = keys.answer("t", "j", long).removesuffix(".json").rsplit("/", 1)[-1]
    assert keys.answer("t", "j", taken) != keys.answer("t", "j", long)


@pytest.mark.parametrize(
    ("custom_id", "last"),
    [
        ("row-1", "row-1.json"),
        ("a/b", "a%2Fb.json"),
        ("..", "...json"),
        ("é %", "%C3%A9%20%25.json"),
        ("x" * 200, "x" * 200 + ".json"),
    ],
)
def test_an_answers_key_is_what_any_client_can_compute(custom_id, last):
    assert keys.answer("t", "j", custom_id) == f"tenants/t/jobs/j/answers/{last}"


@given(NAMES, NAMES)
def test_markers_are_read_back(tenant, job):
    assert keys.marked(keys.open_job(tenant, job)) == (tenant, job)
    assert keys.marked(keys.cancelled(tenant, job)) == (tenant, job)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "open/",
        "open/t",
        "open/t/",
        "open/t/j/x",
        "open/../j",
        "tenants/t/jobs/j",
        "markers/t/j",
        "x/open/t/j",
        "t/j",
    ],
)
def test_what_is_no_marker_names_no_job(key):
    assert keys.marked(key) is None


@given(st.text(max_size=40))
def test_reading_a_key_never_raises(key):
    keys.marked(key)
    keys.pool_of(key)
    SegmentName.parse(key)


def test_a_pools_registration_is_told_from_its_workers():
    assert keys.pool_of(keys.pool("smollm2")) == "smollm2"
    assert keys.pool_of(keys.worker("smollm2", "w/1")) is None
    assert keys.worker("smollm2", "w/1").startswith(keys.workers("smollm2"))
    assert keys.worker("smollm2", "../x") == "pools/smollm2/workers/..%2Fx.json"


@given(SEGMENTS, NAMES, NAMES)
def test_a_segments_name_is_read_back_from_its_key(name, tenant, job):
    assert SegmentName.parse(keys.segment(tenant, job, name)) == name


@pytest.mark.parametrize(
    "key",
    [
        "",
        "segments/",
        f"{'0' * 26}-1-1ok-0err-0in-0out-0ms.json",
        f"{'0' * 25}-1-1ok-0err-0in-0out-0ms.jsonl",
        f"{'0' * 26}-1--1ok-0err-0in-0out-0ms.jsonl",
        f"{'0' * 26}-1-\u0661ok-0err-0in-0out-0ms.jsonl",
        f"{'0' * 26}-1-{'9' * 5000}ok-0err-0in-0out-0ms.jsonl",
        f"{'0' * 26}-1-1ok-0err-0in-0out-0ms.jsonl.part",
    ],
)
def test_what_is_no_segment_has_no_name(key):
    assert SegmentName.parse(key) is None


@given(SEGMENTS, SEGMENTS)
def test_a_writers_segments_sort_by_their_sequence(one, other):
    if one.sequence != other.sequence:
        assert (str(one) < str(other)) == (one.sequence < other.sequence)


@given(st.lists(st.integers(0, 2**48 - 1).map(lambda ms: ms / 1000), min_size=2, max_size=6, unique=True))
def test_job_ids_list_the_newest_first_and_writers_the_oldest(times):
    for early, late in combinations(sorted(times), 2):
        if int(early * 1000) < int(late * 1000):
            assert keys.new_job_id(late) < keys.new_job_id(early)
            assert keys.new_ulid(early) < keys.new_ulid(late)


def test_made_ids_are_valid_names_of_their_kind_and_never_the_same():
    made = [make() for make in (keys.new_job_id, keys.new_single_job_id, keys.new_ulid) for _ in range(50)]
    assert len(set(made)) == len(made)
    assert all(is_name(one) for one in made)
    assert keys.has_manifest(keys.new_job_id())
    assert not keys.has_manifest(keys.new_single_job_id())
    assert not keys.has_manifest("stream-q-2026-01-01")


@given(NAMES, NAMES, INDEXES)
def test_a_stored_body_is_known_as_the_jobs_own_and_no_other_jobs(tenant, job, index):
    key = keys.body(tenant, job, index)
    assert keys.is_body_of(key, tenant, job)
    assert not keys.is_body_of(key, tenant, job + "x")
    assert not keys.is_body_of(key, tenant + "x", job)


@given(NAMES, NAMES, NAMES)
def test_a_stored_jobs_input_is_its_own_or_a_file_of_its_tenant(tenant, job, other):
    assert keys.is_input_of(keys.stored_input(tenant, job), tenant, job)
    assert keys.is_input_of(keys.content(tenant, other), tenant, job)
    if other != tenant:
        assert not keys.is_input_of(keys.content(other, job), tenant, job)
    if other != job:
        assert not keys.is_input_of(keys.stored_input(tenant, other), tenant, job)
    for foreign in ("..", "a/b", "", "../../x/contents/a"):
        assert not keys.is_input_of(keys.contents(tenant) + foreign, tenant, job)


@pytest.mark.parametrize("new", [keys.new_job_id, keys.new_file_id, keys.new_upload_id])
def test_ids_of_jobs_and_files_sort_the_newest_first(new):
    made = [new(float(now)) for now in range(1_700_000_000, 1_700_000_010)]
    assert sorted(made) == made[::-1]
    assert all(map(is_name, made))
