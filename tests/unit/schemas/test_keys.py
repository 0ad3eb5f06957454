"""Object keys: nothing leaves its prefix, nothing collides, and names sort as promised."""

import re
from hashlib import sha256
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
        "named": keys.named_job(tenant, job, 1_767_225_600),
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
            "named": f"tenants/{tenant}/named/",
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


@pytest.mark.parametrize(
    ("idempotency_key", "job"),
    [
        ("order-7", "single-key-df8cf80227ec3237922df0ecd88385c546e4a31b"),
        ("\ud800", "single-key-91a681b998555fb475479817b126c94e57e52011"),
    ],
)
def test_a_key_of_a_call_that_may_be_repeated_names_the_same_job_for_every_release(idempotency_key, job):
    assert keys.keyed_single_job_id(idempotency_key) == job
    assert is_name(job)
    assert keys.single_made_at(job) is None


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1_700_000_000.123])
def test_the_id_of_one_request_tells_when_it_was_made(seconds):
    assert keys.single_made_at(keys.new_single_job_id(seconds)) == pytest.approx(seconds)
    assert keys.job_made_at(keys.new_job_id(seconds)) == pytest.approx(seconds)
    assert keys.single_made_at(keys.new_job_id(seconds)) is keys.job_made_at(keys.new_single_job_id(seconds)) is None


@given(NAMES, NAMES, INDEXES)
def test_a_stored_body_is_known_as_the_jobs_own_and_no_other_jobs(tenant, job, index):
    key = keys.body(tenant, job, index)
    assert keys.is_body_of(key, tenant, job)
    assert not keys.is_body_of(key, tenant, job + "x")
    assert not keys.is_body_of(key, tenant + "x", job)


def test_a_stored_bodys_last_part_with_its_ending_is_no_longer_than_stores_take_one():
    longest = "x" * (255 - len(".json"))
    assert keys.is_body_of(keys.body("t", "j", longest), "t", "j")
    # A name may end with a dot, and its ending begins with one.
    assert keys.is_body_of(keys.body("t", "j", "a."), "t", "j")
    assert not keys.is_body_of(keys.body("t", "j", longest + "x"), "t", "j")


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


# --- what other clients compute too -----------------------------------------------------------------------

DIGEST = "0123456789abcdef" * 4
T, J = "acme", "batch_1"


@pytest.mark.parametrize(
    ("key", "names", "is_at"),
    [
        (keys.pool, ("m",), "pools/m.json"),
        (keys.workers, ("m",), "pools/m/workers/"),
        (
            keys.worker,
            (
                "m",
                "w/1",
            ),
            "pools/m/workers/w%2F1.json",
        ),
        (
            keys.cancelled,
            (
                T,
                J,
            ),
            "markers/cancelled/acme/batch_1",
        ),
        (
            keys.paused,
            (
                T,
                J,
            ),
            "markers/paused/acme/batch_1",
        ),
        (
            keys.pending,
            (
                T,
                J,
            ),
            "pending/acme/batch_1",
        ),
        (
            keys.open_job,
            (
                T,
                J,
            ),
            "open/acme/batch_1",
        ),
        (
            keys.suspect,
            (
                T,
                J,
                7,
            ),
            "markers/suspects/acme/batch_1/7",
        ),
        (keys.jobs, (T,), "tenants/acme/jobs/"),
        (
            keys.job,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/",
        ),
        (
            keys.manifest,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/job.json",
        ),
        (
            keys.unrouted,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/unrouted.json",
        ),
        (
            keys.enqueued,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/enqueued.json",
        ),
        (
            keys.claimed,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/claimed.json",
        ),
        (
            keys.retried,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/retried.json",
        ),
        (
            keys.cursor,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/cursor.json",
        ),
        (
            keys.sealed,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/sealed.json",
        ),
        (
            keys.summary,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/summary.json",
        ),
        (
            keys.stored_input,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/input.jsonl",
        ),
        (
            keys.plan,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/plan",
        ),
        (
            keys.segments,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/segments/",
        ),
        (
            keys.segment,
            (T, J, SegmentName("0" * 26, 42, 1, 2, 12, 4, 1500)),
            f"tenants/acme/jobs/batch_1/segments/{'0' * 26}-00000042-1ok-2err-12in-4out-1500ms.jsonl",
        ),
        (
            keys.bodies,
            (
                T,
                J,
            ),
            "tenants/acme/jobs/batch_1/bodies/",
        ),
        (
            keys.body,
            (
                T,
                J,
                7,
            ),
            "tenants/acme/jobs/batch_1/bodies/7.json",
        ),
        (
            keys.cached_answer,
            (
                T,
                "m",
                DIGEST,
            ),
            f"cache/acme/m/{DIGEST}.json",
        ),
        (keys.files, (T,), "tenants/acme/files/"),
        (
            keys.file,
            (
                T,
                "file-1",
            ),
            "tenants/acme/files/file-1.json",
        ),
        (keys.contents, (T,), "tenants/acme/contents/"),
        (
            keys.content,
            (
                T,
                "file-1",
            ),
            "tenants/acme/contents/file-1",
        ),
        (keys.uploads, (T,), "tenants/acme/uploads/"),
        (
            keys.upload,
            (
                T,
                "upload_1",
            ),
            "tenants/acme/uploads/upload_1/",
        ),
        (
            keys.upload_entry,
            (
                T,
                "upload_1",
            ),
            "tenants/acme/uploads/upload_1/upload.json",
        ),
        (
            keys.upload_end,
            (
                T,
                "upload_1",
            ),
            "tenants/acme/uploads/upload_1/end.json",
        ),
        (
            keys.upload_part,
            (
                T,
                "upload_1",
                "part_1",
            ),
            "tenants/acme/uploads/upload_1/parts/part_1",
        ),
        (keys.batches, (T,), "tenants/acme/batches/"),
        (
            keys.batch,
            (
                T,
                J,
            ),
            "tenants/acme/batches/batch_1",
        ),
        (
            keys.deleted_results,
            (
                T,
                J,
                "output",
            ),
            "tenants/acme/deleted/batch_1-output",
        ),
        (keys.expiries, (T,), "tenants/acme/expiring/"),
        (
            keys.expiry,
            (
                T,
                1_700_000_000.5,
                "file-1",
            ),
            "tenants/acme/expiring/001700000001-file-1",
        ),
        (keys.idempotency_records, (T,), "tenants/acme/idempotency/"),
        (
            keys.idempotency,
            (
                T,
                DIGEST,
            ),
            f"tenants/acme/idempotency/{DIGEST}.json",
        ),
        (
            keys.audit,
            (
                T,
                "2026-11-28",
            ),
            "tenants/acme/audit/2026-11-28/",
        ),
        (keys.api_key, (DIGEST,), f"keys/{DIGEST}.json"),
        (keys.dead_letters, (T,), "tenants/acme/dead/"),
        (
            keys.dead_letters,
            (
                T,
                J,
            ),
            "tenants/acme/dead/batch_1/",
        ),
        (
            keys.dead_letter,
            (
                T,
                J,
                7,
            ),
            "tenants/acme/dead/batch_1/7.json",
        ),
        (
            keys.unaddressed_letter,
            (
                "q",
                "3-17",
            ),
            "dead/q/3-17",
        ),
        (keys.redrives, (T,), "tenants/acme/redrives/"),
        (
            keys.redrives,
            (
                T,
                J,
            ),
            "tenants/acme/redrives/batch_1/",
        ),
        (
            keys.redrive_plan,
            (
                T,
                J,
            ),
            "tenants/acme/redrives/batch_1/plan.json",
        ),
        (
            keys.redrive_batch,
            (
                T,
                J,
                "1",
            ),
            "tenants/acme/redrives/batch_1/1.jsonl",
        ),
    ],
)
def test_each_object_lies_where_every_release_looks_for_it(key, names, is_at):
    assert key(*names) == is_at


@pytest.mark.parametrize(
    ("custom_id", "is_hashed"), [("x" * 200, False), ("x" * 201, True), ("é" * 34, True), ("sha256-x", True)]
)
def test_a_custom_id_that_a_key_cannot_hold_is_hashed(custom_id, is_hashed):
    last = f"sha256-{sha256(custom_id.encode()).hexdigest()}" if is_hashed else custom_id
    assert keys.answer("t", "j", custom_id) == f"tenants/t/jobs/j/answers/{last}.json"


@pytest.mark.parametrize(
    ("new", "begins"),
    [
        (keys.new_ulid, "01hf7yatfm"),
        (keys.new_single_job_id, "single-01hf7yatfm"),
        (keys.new_job_id, "batch_7yegr1n5gb"),
        (keys.new_file_id, "file-7yegr1n5gb"),
        (keys.new_upload_id, "upload_7yegr1n5gb"),
    ],
)
def test_an_id_begins_with_its_kind_and_time_and_ends_in_chance(new, begins):
    one, other = new(1_700_000_000.5), new(1_700_000_000.5)
    assert one.startswith(begins)
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{26}", one[-26:])
    assert one[:-16] == other[:-16] != new(1_700_000_000.501)[:-16]
    assert one[-16:] != other[-16:]


@pytest.mark.parametrize("new", [keys.new_ulid, keys.new_job_id])
def test_an_ids_time_is_forty_eight_bits_of_milliseconds(new):
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    told = sum(digits.index(digit) << 5 * place for place, digit in enumerate(reversed(new(1_700_000_000.5)[-26:-16])))
    assert told == (1_700_000_000_500 if new is keys.new_ulid else 2**48 - 1 - 1_700_000_000_500)


def test_without_a_time_an_id_has_that_of_now(monkeypatch):
    monkeypatch.setattr(keys.time, "time", lambda: 1_700_000_000.5)
    for new in (keys.new_ulid, keys.new_single_job_id, keys.new_job_id, keys.new_file_id, keys.new_upload_id):
        assert new()[:-16] == new(1_700_000_000.5)[:-16]


def test_an_ids_chance_is_eighty_bits(monkeypatch):
    asked = []
    monkeypatch.setattr(keys.secrets, "randbits", lambda bits: asked.append(bits) or (1 << bits) - 1)
    assert keys.new_ulid(0.0) == "0" * 10 + "z" * 16
    assert keys.new_job_id(0.0) == "batch_7zzzzzzzzz" + "z" * 16
    assert asked == [80, 80]


def test_clock_marks_are_two_hundred_and_fifty_six(monkeypatch):
    monkeypatch.setattr(keys.secrets, "randbelow", lambda count: count - 1)
    assert keys.clock_mark() == "clock/ff"
    monkeypatch.setattr(keys.secrets, "randbelow", lambda count: 10)
    assert keys.clock_mark() == "clock/0a"


@pytest.mark.parametrize(
    ("key", "letter"),
    [
        ("tenants/acme/dead/batch_1/7.json", ("acme", "batch_1", 7)),
        ("tenants/acme/dead/batch_1/0.json", ("acme", "batch_1", 0)),
        ("tenants/acme/dead/batch_1/3-17.json", ("acme", "batch_1", "3-17")),
        ("tenants/acme/dead/batch_1/007.json", ("acme", "batch_1", "007")),
        ("tenants/acme/dead/batch_1/a/b.json", None),
        ("tenants/../dead/batch_1/7.json", None),
        ("tenants/acme/dead/../7.json", None),
        ("tenants/acme/dead/batch_1/...json", None),
        ("tenants/acme/dead/batch_1/7", None),
        ("", None),
    ],
)
def test_a_letters_key_tells_whose_it_is(key, letter):
    assert keys.letter_of(key) == letter


@pytest.mark.parametrize(
    ("key", "letter"),
    [
        ("dead/q/3-17", ("q", "3-17")),
        ("dead/q/..", None),
        ("dead/../3-17", None),
        ("dead/./3-17", None),
        ("dead/q/.", None),
        ("dead/q", None),
        (f"dead/q/{'x' * 256}", None),
        ("tenants/acme/dead/batch_1/7.json", None),
    ],
)
def test_a_letter_without_an_address_is_told_from_all_else(key, letter):
    assert keys.unaddressed_of(key) == letter


@pytest.mark.parametrize(
    ("key", "expiry"),
    [
        ("tenants/acme/expiring/001700000001-file-1", (1_700_000_001, "file-1")),
        ("tenants/acme/expiring/001700000001-..", None),
        ("tenants/acme/expiring/1-file-1", None),
        ("x", None),
    ],
)
def test_an_expirys_key_tells_when_and_what(key, expiry):
    assert keys.expiry_of(key) == expiry


@pytest.mark.parametrize(
    ("key", "is_its_own"),
    [
        ("tenants/acme/jobs/batch_1/job.json", True),
        ("tenants/acme/", True),
        ("open/acme/batch_1", True),
        ("pending/acme/batch_1", True),
        ("cache/acme/m/x.json", True),
        ("markers/paused/acme/batch_1", True),
        ("tenants/other/jobs/batch_1/job.json", False),
        ("tenants/acme", False),
        ("tenants/acme/../other/x", False),
        ("tenants/acme/./x", False),
        ("tenants/acme//x", False),
        ("tenants/acme/x/..", False),
        ("tenants/acme/x/.", False),
        ("keys/acme/x", False),
    ],
)
def test_what_lies_in_a_tenants_own_prefixes_is_its_own(key, is_its_own):
    assert keys.is_of_tenant(key, "acme") is is_its_own


def test_a_key_under_the_own_bodies_or_contents_is_one_plain_name():
    assert keys.is_body_of(keys.bodies(T, J) + "7", T, J)
    assert not keys.is_body_of(keys.bodies(T, J) + "a/b.json", T, J)
    assert not keys.is_body_of("x" * len(keys.bodies(T, J)) + "7.json", T, J)
    assert not keys.is_input_of("x" * len(keys.contents(T)) + "file-1", T, J)


def test_the_entry_of_a_named_job_tells_its_name_and_when_it_was_made():
    key = keys.named_job(T, "mine", 1_700_000_000.5)
    assert keys.named_job_of(key) == ("mine", pytest.approx(1_700_000_000.5))
    assert keys.named_job_of(key.replace("mine", "a..b")) is None
    assert keys.named_job_of(keys.manifest(T, "mine")) is None
