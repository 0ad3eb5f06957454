"""Submitting files and iterables: what is refused, what is sent, and in which order things are made."""

import asyncio
import errno
import gzip
import json
import sqlite3

import pytest

from backburner import BatchRequest, Cancelled, InvalidInput, JobConflict, JobError, JobState, Lane, PoolNotFound
from backburner.client import Client
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import codec, keys, routing
from backburner_schemas.errors import ModelNotFound, StoreError, TemporaryFilesError
from backburner_schemas.job import Cursor, JobManifest, Sealed


class Recorder:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.messages = []

    async def start(self) -> None: ...

    async def publish(self, messages):
        self.messages += messages

    async def close(self) -> None: ...


def line(custom_id, model="fake", **more):
    body = {"model": model, "messages": [{"role": "user", "content": f"hello {custom_id}"}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def write(path, *lines):
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


async def read(storage, key, kind):
    return kind.model_validate_json((await storage.get(key)).data)


async def keys_of(storage):
    return {one.key async for one in storage.scan("") if not one.key.startswith("pools/")}


async def test_a_file_becomes_a_sealed_job(system, tmp_path):
    path = write(tmp_path / "in.jsonl", *(line(f"r{number}") for number in range(1500)))
    recorder = Recorder()
    client = Client.from_parts(system.settings, system.storage, recorder)
    job = await client.submit(path, priority=Lane.LOW, metadata={"owner": "me"}, deadline=600, parent="old")
    messages = recorder.messages
    assert [one.envelope.index for one in messages] == list(range(1500))
    assert [one.envelope.custom_id for one in messages] == [f"r{number}" for number in range(1500)]
    assert {(one.pool, one.lane) for one in messages} == {("fake", Lane.LOW)}
    manifest = await read(system.storage, keys.manifest("default", job.id), JobManifest)
    assert (manifest.priority, manifest.metadata, manifest.parent) == (Lane.LOW, {"owner": "me"}, "old")
    assert manifest.deadline == pytest.approx(manifest.created_at + 600)
    assert {one.envelope.deadline for one in messages} == {manifest.deadline}
    sealed = await read(system.storage, keys.sealed("default", job.id), Sealed)
    cursor = await read(system.storage, keys.cursor("default", job.id), Cursor)
    assert (sealed.total, sealed.skipped) == (1500, 0)
    assert (cursor.count, cursor.sha256) == (sealed.total, sealed.sha256)
    assert await system.storage.get(keys.open_job("default", job.id)) is not None
    assert (await job.status()).status is JobState.IN_PROGRESS


async def test_a_job_that_is_whole_when_it_is_sealed_is_frozen_at_once(system):
    job = await system.client.submit([line("a")])
    assert await system.storage.get(keys.summary("default", job.id)) is not None
    assert await system.storage.get(keys.open_job("default", job.id)) is None


async def test_the_open_marker_and_the_manifest_come_before_the_first_message(system):
    class Looker(Recorder):
        async def publish(self, messages):
            (job,) = {one.envelope.job for one in messages}
            assert await system.storage.get(keys.open_job("default", job)) is not None
            assert await system.storage.get(keys.manifest("default", job)) is not None
            assert await system.storage.get(keys.sealed("default", job)) is None
            await super().publish(messages)

    looker = Looker()
    await Client.from_parts(system.settings, system.storage, looker).submit([line("a")])
    assert looker.messages


async def test_every_bad_line_of_a_file_is_found_before_anything_is_made(system, tmp_path):
    path = write(
        tmp_path / "in.jsonl",
        line("a"),
        "{no json",
        {"method": "POST", "url": "/v1/chat/completions", "body": {}},
        line("a"),
        line("b", url="/v1/images"),
        line("c", model="nope"),
        "",
        line("d", method="GET"),
        "[]",
        line("e", body={"model": "fake"}),
    )
    with pytest.raises(InvalidInput, match="line 2: ") as caught:
        await system.client.submit(path)
    error = caught.value
    assert [(one.line, one.custom_id, one.code) for one in error.findings] == [
        (2, None, "invalid_json"),
        (3, None, "invalid_request"),
        (4, "a", "duplicate_custom_id"),
        (5, "b", "unknown_endpoint"),
        (6, "c", "pool_not_found"),
        (8, "d", "invalid_request"),
        (9, None, "invalid_json"),
        (10, "e", "invalid_request"),
    ]
    assert error.total == 8
    assert "line 1" in error.findings[2].message
    assert await keys_of(system.storage) == set()
    assert system.published == 0


async def test_repeats_far_apart_are_found(system, tmp_path):
    path = write(tmp_path / "in.jsonl", *(line(f"r{number % 2000}") for number in range(2001)))
    with pytest.raises(InvalidInput) as caught:
        await system.client.submit(path)
    assert [(one.line, one.custom_id) for one in caught.value.findings] == [(2001, "r0")]


async def test_findings_are_bounded(system, tmp_path):
    path = write(tmp_path / "in.jsonl", *["x"] * 250)
    with pytest.raises(InvalidInput) as caught:
        await system.client.submit(path)
    assert (len(caught.value.findings), caught.value.total) == (100, 250)


async def test_skipping_sends_the_rest_and_tells(system, tmp_path):
    path = write(tmp_path / "in.jsonl", line("a"), "x", line("a"), line("b"), line("c", model="nope"), line("d"))
    job = await system.client.submit(path, skip_invalid=True)
    assert [one.line for one in job.skipped] == [2, 3, 5]
    records = [record async for record in job.results()]
    assert {record.custom_id: record.backburner.index for record in records} == {"a": 0, "b": 1, "d": 2}
    sealed = await read(system.storage, keys.sealed("default", job.id), Sealed)
    assert (sealed.total, sealed.skipped) == (3, 3)


@pytest.mark.parametrize("skip", [False, True])
async def test_an_input_without_requests_is_refused(system, tmp_path, skip):
    for source in (write(tmp_path / "in.jsonl", ""), [], write(tmp_path / "bad.jsonl", "x"), ["x"]):
        with pytest.raises(InvalidInput):
            await system.client.submit(source, skip_invalid=skip)
    assert await keys_of(system.storage) == set()


async def test_a_file_that_cannot_be_read_twice_is_refused(system, tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        await system.client.submit(tmp_path / "nope")
    with pytest.raises(InvalidInput, match="regular file"):
        await system.client.submit(str(tmp_path))


async def test_a_file_sends_what_an_iterable_sends(tmp_path, monkeypatch):
    monkeypatch.setattr("backburner.inputs.line_blocks.BLOCK_BYTES", 3000)
    written = [json.dumps(line(f"r{number}"), ensure_ascii=False) for number in range(200)]
    written[20:60] = [json.dumps(line(f"é{number}", "other"), separators=(",", ":")) for number in range(40)]
    written[70] = json.dumps(line("x", extra={"tenant": "not mine"}))
    written[100] = '{"custom_id":"y","url":"/v1/completions","body":{"model":"fake","prompt":1,"prompt":"two"}}'
    written[130] = json.dumps(line("z")).replace("hello", "\\u003a: ") + "\r"
    path = tmp_path / "in.jsonl"
    path.write_text("\n\n".join([*written[:150], "", *written[150:]]))
    async with FakeSystem(models=("fake", "other")) as system:
        sent, hashes = [], []
        for source in (path, written):
            recorder = Recorder()
            job = await Client.from_parts(system.settings, system.storage, recorder).submit(source)
            sent.append(
                [
                    (one.pool, one.lane, one.envelope.model_copy(update={"job": "", "enqueued_at": 0, "deadline": 0}))
                    for one in recorder.messages
                ]
            )
            hashes.append((await read(system.storage, keys.sealed("default", job.id), Sealed)).sha256)
    assert sent[0] == sent[1]
    assert [one.index for _, _, one in sent[0]] == list(range(200))
    assert sent[0][100][2].body == {"model": "fake", "prompt": "two"}
    assert hashes[0] == hashes[1]


async def test_a_message_is_what_the_codec_makes_of_its_envelope(system, tmp_path):
    path = write(tmp_path / "in.jsonl", line("a"), line("é:b", extra=1))
    recorder = Recorder()
    await Client.from_parts(system.settings, system.storage, recorder).submit(path)
    for message in recorder.messages:
        told = json.loads(message.value)
        told.pop("method", None)
        assert told == json.loads(codec.encode(message.envelope))
        assert message.key == routing.partition_key(message.envelope)


async def test_line_ends_and_byte_order_marks_are_no_findings(system, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(line("a")).encode() + b"\r\n\r\n" + json.dumps(line("b")).encode())
    job = await system.client.submit(path)
    assert {record.custom_id async for record in job.results()} == {"a", "b"}


async def test_a_line_over_the_limit_is_one_finding(tmp_path):
    async with FakeSystem() as system:
        client = Client.from_parts(
            system.settings.model_copy(update={"max_body_bytes": 2000}), system.storage, Recorder()
        )
        path = write(tmp_path / "in.jsonl", line("a"), line("b", body={"x": "y" * 5000}), line("c"))
        with pytest.raises(InvalidInput) as caught:
            await client.submit(path)
        assert [(one.line, one.code) for one in caught.value.findings] == [(2, "body_too_large")]


async def test_a_body_too_large_for_the_broker_is_stored_and_its_key_is_sent(system):
    big = line("big")
    big["body"]["messages"][0]["content"] = "x" * 950_000
    recorder = Recorder()
    job = await Client.from_parts(system.settings, system.storage, recorder).submit([line("small"), big])
    small, large = (message.envelope for message in recorder.messages)
    assert (small.body_ref, large.body) == (None, None)
    assert large.body_ref == keys.body("default", job.id, 1)
    assert json.loads((await system.storage.get(large.body_ref)).data) == big["body"]
    job = await system.client.submit([big])
    assert [record.ok async for record in job.results()] == [True]


async def test_items_may_have_any_form(system):
    request = BatchRequest.model_validate({**line("b")})
    items = [line("a"), request, json.dumps(line("c")), json.dumps(line("d")).encode()]
    job = await system.client.submit(items)
    assert {record.custom_id async for record in job.results()} == {"a", "b", "c", "d"}


async def test_an_async_iterable_is_sent_as_it_comes(system):
    async def items():
        yield line("a")
        for _ in range(1000):
            if system.published:
                break
            await asyncio.sleep(0.001)
        assert system.published == 1
        for number in range(2000):
            yield line(f"r{number}")

    job = await system.client.submit(items())
    assert (await job.wait(timeout=10)).request_counts.completed == 2001


async def test_the_first_bad_item_cancels_the_job(system):
    seen = []

    def items():
        for number in range(3000):
            seen.append(number)
            yield line(f"r{number}") if number != 1000 else {"custom_id": "bad"}

    with pytest.raises(InvalidInput, match="item 1001: url is missing") as caught:
        await system.client.submit(items(), job_id="mine")
    assert caught.value.findings[0].line == 1001
    assert len(seen) < 3000
    assert await system.storage.get(keys.cancelled("default", "mine")) is not None
    assert await system.storage.get(keys.sealed("default", "mine")) is None
    assert (await system.client.job("mine").wait(timeout=10)).status is JobState.CANCELLED


@pytest.mark.parametrize("bad", [line("r0"), 7, "x", {"custom_id": "x", "url": object()}])
async def test_what_no_item_can_be_is_a_finding(system, bad):
    with pytest.raises(InvalidInput) as caught:
        await system.client.submit([line("r0"), bad])
    assert caught.value.findings[0].line == 2


async def test_an_iterable_may_skip_bad_items_too(system):
    job = await system.client.submit([line("a"), "x", line("a"), line("b")], skip_invalid=True)
    assert [(one.line, one.code) for one in job.skipped] == [(2, "invalid_json"), (3, "duplicate_custom_id")]
    assert {record.custom_id async for record in job.results()} == {"a", "b"}


async def test_what_the_iterable_raises_goes_through_with_a_hint(system):
    def items():
        yield from (line(f"r{number}") for number in range(600))
        raise ValueError("the database is gone")

    with pytest.raises(ValueError, match="database") as caught:
        await system.client.submit(items(), job_id="mine")
    assert "job_id" in caught.value.__notes__[0]
    assert await system.storage.get(keys.cancelled("default", "mine")) is None


async def test_each_line_goes_to_the_pool_of_its_model():
    async with FakeSystem(models=("one", "Two/x")) as system:
        recorder = Recorder()
        client = Client.from_parts(system.settings, system.storage, recorder)
        await client.submit([line("a", "one"), line("b", "Two/x")])
        assert [one.pool for one in recorder.messages] == ["one", (await system.client.pools())[1].pool]


async def test_a_pool_takes_every_line_where_it_is_named(system):
    recorder = Recorder()
    client = Client.from_parts(system.settings, system.storage, recorder)
    await client.add_aliases("fake", ["gpt-4o-mini"])
    job = await client.submit([line("a", "gpt-4o-mini"), line("b")], pool="fake")
    assert [one.pool for one in recorder.messages] == ["fake", "fake"]
    assert job.warnings == ()
    with pytest.raises(PoolNotFound, match="there is fake"):
        await client.submit([line("a")], pool="nope")


@pytest.mark.parametrize("as_file", [True, False])
async def test_a_model_that_no_worker_of_the_named_pool_serves_is_refused_before_anything_is_sent(
    system, tmp_path, as_file
):
    lines = [line("a", "other"), line("b")]
    source = write(tmp_path / "in.jsonl", *lines) if as_file else lines
    with pytest.raises(ModelNotFound, match=r"no worker of pool fake serves 'other'; pass --model fake .* alias"):
        await system.client.submit(source, pool="fake", job_id="mine")
    assert system.published == 0
    assert await system.storage.get(keys.manifest("default", "mine")) is None


async def test_a_job_that_was_begun_is_completed_whoever_works_in_its_pool_by_now(system):
    await system.client.add_aliases("fake", ["other"])
    job = await system.client.submit([line("a", "other")], pool="fake")
    await system.client.remove_aliases("fake", ["other"])
    again = await system.new_client().submit([line("a", "other")], pool="fake", job_id=job.id)
    assert (again.id, system.published) == (job.id, 1)


async def test_a_model_takes_the_place_of_each_lines_own(system, tmp_path):
    without = line("b")
    del without["body"]["model"]
    lines = [line("a", "gpt-4o-mini"), without]
    source = write(tmp_path / "in.jsonl", *lines)
    job = await system.client.submit(source, model="fake", pool="fake")
    assert (await job.status()).model == "fake"
    joined = {one.custom_id: one.request.model async for one in job.results(join=source)}
    assert joined == {"a": "fake", "b": "fake"}
    records = [record async for record in job.results()]
    assert {record.response.body["model"] for record in records} == {"fake"}
    # The same input is the same job, and the first submit's model stays.
    assert (await system.client.submit(lines, job_id=job.id)).id == job.id
    assert system.published == len(lines)
    with pytest.raises(JobConflict):
        await system.client.submit([line("a"), line("c")], model="fake", job_id=job.id)
    with pytest.raises(JobError, match="not a model's name"):
        await system.client.submit(lines, model=" ")


async def test_what_failed_is_retried_with_the_model_that_took_the_place(system):
    lines = [line("a", "gpt-4o-mini")]
    system.fail(["a"])
    job = await system.client.submit(lines, model="fake")
    system.mend()
    again = await system.client.retry_failed(job.id, input=lines)
    assert (await again.wait(timeout=5)).request_counts.completed == 1


async def test_a_pool_without_a_worker_is_a_warning():
    async with FakeSystem(workers=False) as system:
        job = await system.client.submit([line("a")])
        assert "no live worker" in job.warnings[0]


@pytest.mark.parametrize(
    "options",
    [
        {"job_id": "../x"},
        {"tenant": "a/b"},
        {"deadline": -1},
        {"deadline": 10**9},
        {"priority": Lane.RETRY},
        {"metadata": {"k" * 65: "v"}},
    ],
)
async def test_options_that_cannot_be_are_refused(system, options):
    with pytest.raises(JobError):
        await system.client.submit([line("a")], **options)
    assert await keys_of(system.storage) == set()


async def test_a_submit_stops_when_its_job_is_cancelled(system, monkeypatch):
    monkeypatch.setattr("backburner.submission.submission._CURSOR_LINES", 1)

    def items():
        for number in range(100_000):
            yield line(f"r{number}")

    class Canceller(Recorder):
        async def publish(self, messages):
            await system.client.job("mine").cancel()
            await super().publish(messages)

    recorder = Canceller()
    client = Client.from_parts(system.settings, system.storage, recorder)
    with pytest.raises((Cancelled, JobConflict)):
        await client.submit(items(), job_id="mine")
    assert len(recorder.messages) < 100_000
    assert await system.storage.get(keys.sealed("default", "mine")) is None


async def test_progress_tells_how_far_it_is(system, tmp_path):
    path = write(tmp_path / "in.jsonl", *(line(f"r{number}") for number in range(1200)))
    told = []
    await system.client.submit(path, on_progress=told.append)
    assert told[0].total is None
    assert (told[-1].checked, told[-1].sent, told[-1].total) == (1200, 1200, 1200)
    assert [one.sent for one in told] == sorted(one.sent for one in told)


@pytest.mark.parametrize("told", [1, 2])
@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
async def test_a_file_that_changes_meanwhile_is_refused_and_its_job_cancelled(system, tmp_path, told, change):
    body = {"model": "fake", "messages": [{"role": "user", "content": "x" * 900}]}
    lines = [json.dumps(line(f"r{number}", body=body)) + "\n" for number in range(2400)]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(lines))

    def tell(progress):
        nonlocal told
        told -= progress.total is not None
        if progress.total is not None and told == 0:
            changed = {"longer": [*lines, lines[0]], "shorter": lines[:-1], "other": [*lines[:-1], lines[0]]}[change]
            path.write_text("".join(changed))

    client = Client.from_parts(system.settings, system.storage, Recorder())
    with pytest.raises(InvalidInput, match="changed"):
        await client.submit(path, job_id="mine", on_progress=tell)
    assert await system.storage.get(keys.sealed("default", "mine")) is None
    assert await system.storage.get(keys.cancelled("default", "mine")) is not None


async def test_batches_in_flight_are_bounded(system):
    class Slow(Recorder):
        under_way = 0
        most = 0

        async def publish(self, messages):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0.002)
            self.under_way -= 1
            await super().publish(messages)

    slow = Slow()
    await Client.from_parts(system.settings, system.storage, slow).submit(line(f"r{number}") for number in range(6000))
    assert 1 < slow.most <= 4
    assert len(slow.messages) == 6000


async def test_a_store_that_fails_is_told(system, monkeypatch):
    async def fail(*_):
        raise StoreError

    monkeypatch.setattr(Storage, "create", fail)
    with pytest.raises(StoreError):
        await system.client.submit([line("a")])


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("source", [None, 5, b"{}", line("a"), BatchRequest.model_validate(line("a"))])
async def test_what_is_no_input_is_told_what_one_is(system, source, stored):
    with pytest.raises(InvalidInput, match=r"(in|as) a list"):
        await system.client.submit(source, stored=stored)


@pytest.mark.parametrize("as_text", [True, False])
async def test_an_open_file_is_read_as_its_path_is(system, tmp_path, as_text):
    path = tmp_path / "in.jsonl"
    text = "\n".join(json.dumps(line(f"r{number}")) for number in range(3000))
    path.write_text("\ufeff" + text.replace("\n", "\n\n", 1) + "\n\n  \n", encoding="utf-8")
    with path.open(encoding="utf-8") if as_text else path.open("rb") as file:
        job = await system.client.submit(file)
    whole = await system.client.submit(path)
    sums = [(await system.storage.get(keys.sealed("default", one.id))).data for one in (job, whole)]
    assert [json.loads(one)["sha256"] for one in sums] == [json.loads(sums[1])["sha256"]] * 2
    assert (await job.status()).request_counts.total == 3000


async def test_a_number_that_json_has_not_is_a_finding_and_no_null(system):
    bad = line("a")
    bad["body"]["temperature"] = float("nan")
    with pytest.raises(InvalidInput):
        await system.client.submit([bad])
    assert system.published == 0


@pytest.mark.parametrize(
    ("beginning", "told"),
    [(gzip.compress(b"{}"), "gzip"), ("{}".encode("utf-16"), "UTF-16"), (b"PAR1x", "Parquet"), (b"PK\x03\x04", "zip")],
    ids=["gzip", "UTF-16", "Parquet", "zip"],
)
async def test_a_file_that_is_no_text_is_named_for_what_it_is(system, tmp_path, beginning, told):
    path = tmp_path / "in.jsonl"
    path.write_bytes(beginning)
    with pytest.raises(InvalidInput, match=told) as caught:
        await system.client.submit(path)
    assert not caught.value.findings


@pytest.mark.parametrize("source", ["x" * 5000, json.dumps(line("a")) * 100, "a\0b"])
async def test_a_text_that_is_no_path_is_told_so(system, source):
    with pytest.raises(InvalidInput, match="as a list"):
        await system.client.submit(source)


@pytest.mark.parametrize("where", ["seen", "copy", "join"])
async def test_a_full_disk_for_temporary_files_is_told_with_the_remedy(system, tmp_path, monkeypatch, where):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def use():
        job = await system.client.submit([line(name) for name in "xyz"], stored=where == "copy")
        monkeypatch.setattr("backburner.jobs.join.TemporaryFile", full)
        return [one async for one in job.results(join=[line(name) for name in "xyz"])]

    if where == "seen":
        monkeypatch.setattr("sqlite3.connect", lambda *_, **__: _locked())
    elif where == "copy":
        monkeypatch.setattr("backburner.submission.stored_submission._lines", full)
    with pytest.raises(TemporaryFilesError, match="TMPDIR"):
        await use()


def _locked():
    raise sqlite3.OperationalError("database or disk is full")
