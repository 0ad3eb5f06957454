"""The judge of the fuzz scenario: what it must not let pass."""

import base64
import json

import pytest
from obstore.store import MemoryStore

from fuzz.ends import Store, compare_letters, judge, leaks_of_log, read_store, wrong_keys
from fuzz.messages import Generator
from fuzz.parts import SECRET, Good, Hostile

ADDRESS = ("acme", "single-1", "i1")
ENVELOPE = json.dumps({"v": 1, "tenant": "acme", "job": "single-1", "index": "i1"}).encode()
GOOD = Hostile("envelope", ENVELOPE, good=Good("c", "token-1"))
JUNK = Hostile("random bytes", b"\xff")
SENT = {("q", "0-0"): GOOD, ("q", "0-1"): JUNK}


def record(content="token-1", custom_id="c"):
    return {"custom_id": custom_id, "response": {"body": {"content": content}}, "backburner": {"index": "i1"}}


def store(*records, letters=(("q", "0-1"),)):
    found = Store(letters=set(letters))
    found.records[ADDRESS] += records
    return found


def broken(found):
    return {name for name, breaches in judge(found, SENT).items() if breaches}


def test_one_end_each_is_clean():
    assert broken(store(record())) == set()


def test_each_breach_is_named():
    assert broken(store(record(), letters=())) == {"without an end"}
    assert broken(Store(letters={("q", "0-1")})) == {"without an end", "good and not answered"}
    assert broken(store(record(), record())) == {"with several ends"}
    assert broken(store(record(), letters=[("q", "0-0"), ("q", "0-1")])) >= {"ends of nothing that was sent"}
    assert broken(store(record(content="another's"))) == {"good and not answered"}
    assert broken(store(record(custom_id="d"))) == {"good and not answered"}
    invented = store(record())
    invented.records["acme", "single-2", "i9"].append(record())
    assert broken(invented) == {"ends of nothing that was sent"}
    alone = store(record())
    alone.addressed.add(("acme", "single-3", "i7"))
    assert broken(alone) == {"letters without their error"}


def test_a_good_message_that_is_answered_and_dead_lettered_is_a_breach():
    found = store(record())
    found.addressed.add(ADDRESS)
    assert broken(found) == {"letters without their error"}


def test_a_letter_beside_the_record_of_its_error_is_clean():
    found = store({**record(), "response": None})
    found.addressed.add(ADDRESS)
    assert not any(judge(found, {("q", "0-0"): Hostile("envelope", ENVELOPE), ("q", "0-1"): JUNK}).values())


BODY = {"code": "x", "message": "m", "worker": "w"}
UNADDRESSED, ADDRESSED = "dead/q/0-1", "tenants/acme/dead/single-1/i1.json"
OWN = {**BODY, "envelope": json.loads(ENVELOPE)}
RAW = {**BODY, "raw": base64.b64encode(JUNK.value).decode()}
BAITED = "tenants/acme/jobs/single-bait/answers/c.json"


async def stored(objects):
    """What is read of these objects, and what is wrong with their letters."""
    memory = MemoryStore()
    for key, value in objects.items():
        await memory.put_async(f"fuzz/{key}", json.dumps(value).encode())
    found = await read_store(memory, "fuzz")
    return found, await compare_letters(memory, "fuzz", found, SENT)


async def test_letters_that_are_whole_are_clean():
    answers = "tenants/acme/jobs/single-1/answers/c.json"
    found, wrong = await stored({UNADDRESSED: RAW, ADDRESSED: OWN, answers: record(), BAITED: record(SECRET)})
    assert (found.leaks, wrong) == ([], [])
    assert (found.letters, found.addressed) == ({("q", "0-1")}, {ADDRESS})
    assert found.records[ADDRESS] == [record()]


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("tenants/acme/jobs/single-1/answers/c.json", record(SECRET)),
        (UNADDRESSED, {**RAW, "message": f"the body {SECRET} is not valid"}),
        (UNADDRESSED, {**BODY, "raw": base64.b64encode(SECRET.encode()).decode()}),
        (ADDRESSED, {**OWN, "envelope": {**OWN["envelope"], "body": SECRET}}),
    ],
)
async def test_the_secret_of_another_tenant_is_found_in_records_and_letters(key, shown):
    found, _ = await stored({key: shown})
    assert found.leaks == [key]


@pytest.mark.parametrize(
    ("key", "letter"),
    [
        (UNADDRESSED, {**RAW, "message": ""}),
        (UNADDRESSED, {**BODY, "raw": ""}),
        ("dead/q/0-9", RAW),
        (ADDRESSED, {**OWN, "worker": ""}),
        (ADDRESSED, BODY),
        (ADDRESSED, {**OWN, "envelope": {**OWN["envelope"], "index": "i2"}}),
    ],
)
async def test_a_letter_that_is_not_its_messages_is_found(key, letter):
    _, wrong = await stored({key: letter})
    assert len(wrong) == 1


def test_the_secret_of_another_tenant_is_found_in_a_workers_log(tmp_path):
    log = tmp_path / "worker.log"
    log.write_bytes(b"started\n\xff\nrefused: " + SECRET.encode() + b"\n")
    assert leaks_of_log(log) == ["worker.log:3"]


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "tenants/stranger/jobs/j/segments/a.jsonl",
        "tenants/acme/jobs/../x/segments/a.jsonl",
        "tenants/acme/jobs/j/answers/a/b.json",
        "tenants/acme/jobs/j/answers/\x00.json",
        "dead/q/../x",
        "dead//x",
        "pools/../x.json",
    ],
)
def test_a_key_out_of_place_is_found(key):
    assert wrong_keys(Store(keys=[key])) == [key]


def test_keys_in_place_are_left_alone():
    keys = ["pools/fake.json", "dead/q.fake.normal/0-1", "tenants/acme/jobs/j/answers/..%2F..%2Fx.json"]
    assert wrong_keys(Store(keys=[*keys, "tenants/acme/dead/j/i1.json", "tenants/default/jobs/j/job.json"])) == []


def test_the_same_seed_gives_the_same_messages_and_a_third_of_them_are_good():
    made = list(Generator(3).messages(2000))
    assert made == list(Generator(3).messages(2000))
    assert made != list(Generator(4).messages(2000))
    assert 500 < sum(one.good is not None for one in made) < 800
    assert max(len(one.value or b"") for one in made) > 10_000_000


def test_what_goes_onto_a_queue_of_text_is_text():
    for one in Generator(3, text=True, limit=1024 * 1024).messages(1000):
        text = (one.value or b"").decode()
        assert text
        assert all(char in "\t\n\r" or char >= " " for char in text)
        assert len(one.value) <= 1024 * 1024
