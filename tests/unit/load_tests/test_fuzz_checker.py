"""The judge of the fuzz scenario: what it must not let pass."""

import json

import pytest

from fuzz.ends import Store, judge, wrong_keys
from fuzz.messages import Generator
from fuzz.parts import Good, Hostile

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
    assert broken(alone) == {"letters without their record"}


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
