"""The place on servers of others: each deletion is tried, and what may be left is named."""

import re
from types import SimpleNamespace

import pytest

from chaos import sandbox as places
from chaos.objects import S3Address
from chaos.patience import NeverCame
from chaos.sandbox import sandbox

ADDRESS = S3Address("bucket", "root", None, None)


class Store:
    """A bucket of two pages with an upload; what is refused stays."""

    def __init__(self):
        self.pages = [["a", "b"], ["c"]]
        self.refused = set()
        self.deleted, self.aborted = [], []

    def get_paginator(self, _name):
        return self

    def paginate(self, **_):
        return [{"Contents": [{"Key": key} for key in page]} for page in self.pages]

    def delete_objects(self, **what):
        keys = [one["Key"] for one in what["Delete"]["Objects"]]
        self.deleted += [key for key in keys if key not in self.refused]
        return {"Errors": [{"Key": key, "Code": "AccessDenied"} for key in keys if key in self.refused]}

    def list_multipart_uploads(self, **_):
        return {"Uploads": [{"Key": "u", "UploadId": "1"}]}

    def abort_multipart_upload(self, **what):
        self.aborted.append(what["Key"])


class Admin:
    """A broker with two groups and a topic of ours; what is refused stays."""

    refused: tuple[str, ...] = ()

    def __init__(self, **_):
        pass

    async def start(self):
        pass

    close = start

    async def list_consumer_groups(self):
        return [(f"{PREFIX}.one", ""), (f"{PREFIX}.two", ""), ("another.group", "")]

    async def find_coordinator(self, _group):
        return 1

    async def list_topics(self):
        return [f"{PREFIX}.topic", "another.topic"]

    async def delete_topics(self, topics):
        DELETED.extend(topics)
        return SimpleNamespace(topic_error_codes=[(topic, 29 if topic in self.refused else 0) for topic in topics])

    async def _send_request(self, request, _node):
        (group,) = request._group_names
        DELETED.append(group)
        return SimpleNamespace(results=[(group, 68 if group in self.refused else 0)])


PREFIX = "certify-chaos-0a0a0a0a"
DELETED: list[str] = []


@pytest.fixture
def store(monkeypatch):
    DELETED.clear()
    found = Store()
    monkeypatch.setattr(places.secrets, "token_hex", lambda _: "0a0a0a0a")
    monkeypatch.setattr(places, "connect_store", lambda _: found)
    monkeypatch.setattr(places, "AIOKafkaAdminClient", Admin)
    monkeypatch.setattr(places, "_EMPTY_SECONDS", 0.0)
    return found


def test_all_of_it_is_deleted(store):
    with sandbox("b", None, ADDRESS) as name:
        assert name == PREFIX
    assert [one.removeprefix(PREFIX) for one in DELETED] == [".one", ".two", ".topic"]
    assert (store.deleted, store.aborted) == (["a", "b", "c"], ["u"])


def test_topics_and_objects_are_deleted_though_a_group_stays(store, monkeypatch):
    monkeypatch.setattr(Admin, "refused", (f"{PREFIX}.one",))
    where = rf"{PREFIX} on the queue.*root/{PREFIX}/ in the bucket bucket"
    with pytest.raises(ExceptionGroup, match=where) as raised, sandbox("b", None, ADDRESS):
        pass
    assert raised.group_contains(NeverCame, match="the end of group")
    assert {f"{PREFIX}.two", f"{PREFIX}.topic"} <= {*DELETED}
    assert (store.deleted, store.aborted) == (["a", "b", "c"], ["u"])


def test_a_topic_that_is_refused_is_told(store, monkeypatch):
    monkeypatch.setattr(Admin, "refused", (f"{PREFIX}.topic",))
    with pytest.raises(ExceptionGroup) as raised, sandbox("b", None, ADDRESS):
        pass
    assert raised.group_contains(RuntimeError, match=re.escape(f"{{'{PREFIX}.topic': 29}}"))
    assert store.deleted == ["a", "b", "c"]


def test_objects_that_are_refused_are_told_and_the_others_go(store):
    store.refused = {"a"}
    with pytest.raises(ExceptionGroup) as raised, sandbox("b", None, ADDRESS):
        pass
    assert raised.group_contains(RuntimeError, match="1 objects were not deleted.*AccessDenied")
    assert (store.deleted, store.aborted) == (["b", "c"], ["u"])


def test_queues_are_each_tried(store, monkeypatch):
    deleted = []

    class Queues:
        def get_paginator(self, _name):
            return self

        def paginate(self, **_):
            return [{"QueueUrls": ["one", "two"]}]

        def delete_queue(self, **what):
            if what["QueueUrl"] == "one":
                raise ConnectionError
            deleted.append(what["QueueUrl"])

    monkeypatch.setattr(places, "connect_sqs", lambda _: Queues())
    with pytest.raises(ExceptionGroup) as raised, sandbox("b", "sqs", ADDRESS):
        pass
    assert raised.group_contains(ConnectionError)
    assert deleted == ["two"]
    assert store.deleted == ["a", "b", "c"]
