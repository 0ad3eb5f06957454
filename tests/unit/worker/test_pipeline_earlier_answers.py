"""The pipeline on a queue in memory: what a dead worker has stored and not told the queue is not run again."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pipeline_harness import JOB, TENANT, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.codec import NO_FACTS, Origin
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import StoreError
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_schemas.segment import DIGEST_BYTES, Line, encode_segment
from backburner_worker.jobs import JobCache
from backburner_worker.settlement import earlier_answers
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.fake.source import FakeQueue


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes of segments that are listed to look for earlier answers."""
    found: list[str] = []
    newest = earlier_answers.EarlierAnswers._newest

    async def counted(self: Any, job: tuple[str, str]) -> list[str]:
        found.append(job[1])
        return await newest(self, job)

    monkeypatch.setattr(earlier_answers.EarlierAnswers, "_newest", counted)
    return found


async def die_untold(
    storage: Storage, queue: FakeQueue, send: Callable[[Harness], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker answers and stores what is sent, and dies before it tells the queue."""
    dying = Harness(storage, queue=queue)
    held: list[Delivery] = []

    async def unheard(delivery: Delivery) -> None:
        held.append(delivery)

    async with running(dying):
        monkeypatch.setattr(dying.source, "settle", unheard)
        count = send(dying)
        await until(lambda: len(held) == count)
        for delivery in held:
            queue.lose(delivery)


async def test_what_is_stored_and_was_not_told_is_not_run_again_and_the_job_ends(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, listings: list[str]
) -> None:
    queue = FakeQueue()

    def send(harness: Harness) -> int:
        for index in range(40):
            harness.send(index)
        return 40

    first = Harness(storage, queue=queue)
    await first.make_job(total=50)
    await die_untold(storage, queue, send, monkeypatch)
    assert listings == []
    successor = Harness(storage, queue=queue)
    for index in range(40, 50):
        successor.send(index)
    async with running(successor):
        await until(successor.summary)
        await until(lambda: queue.unsettled == 0)
    assert successor.engine.answered == 10
    assert successor.metric("deliveries_settled_total", outcome="already_answered", code="") == 40
    assert (
        sum(
            sample.value
            for family in successor.metrics.collect()
            for sample in family.samples
            if sample.name == "backburner_results_total" and sample.labels["outcome"] == "ok"
        )
        == 10
    )
    assert sorted(record.backburner.index for record in await successor.records()) == list(range(50))
    assert listings == [JOB]


async def test_a_job_of_which_all_is_stored_ends_with_the_last_that_comes_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue()

    def send(harness: Harness) -> int:
        harness.send(0)
        return 1

    successor = Harness(storage, queue=queue, sweep_seconds=3600)
    await successor.make_job()
    await die_untold(storage, queue, send, monkeypatch)
    assert await successor.summary() is None
    await successor.make_job(total=1)
    # No sweep finds it: what looks at the job is what came of its last request.
    await storage.delete([keys.open_job(TENANT, JOB)])
    async with running(successor):
        await until(successor.summary)
    assert successor.engine.answered == 0


async def test_an_answer_object_is_not_made_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FakeQueue()

    def send(harness: Harness) -> int:
        harness.send(0, job="single-a", answer=AnswerMode.OBJECT)
        harness.send(0, "[[fail]]", job="single-b", answer=AnswerMode.OBJECT)
        return 2

    await die_untold(storage, queue, send, monkeypatch)
    successor = Harness(storage, queue=queue)
    async with running(successor):
        await until(lambda: queue.unsettled == 0)
    # The one that failed has no response, and fails again.
    assert successor.metric("deliveries_settled_total", outcome="already_answered", code="") == 1
    assert successor.metric("deliveries_settled_total", outcome="error", code="invalid_request") == 1
    assert successor.engine.answered == 0


async def test_of_a_job_with_an_end_a_segment_is_looked_for_whatever_its_messages_ask_for(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await run_by_a_successor(storage, monkeypatch, answer=AnswerMode.OBJECT) == 1


async def test_of_a_stream_what_is_stored_is_not_run_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FakeQueue()
    names = ["0-1", "0-2", "7-2", "1a2b"]

    def send(harness: Harness) -> int:
        for name in names:
            harness.send(name, job="stream-x")
        return len(names)

    await die_untold(storage, queue, send, monkeypatch)
    successor = Harness(storage, queue=queue)
    async with running(successor):
        successor.send("0-3", job="stream-x")
        await until(lambda: queue.unsettled == 0)
    assert successor.engine.answered == 1
    assert len(await successor.records("stream-x")) == len(names) + 1


async def test_what_is_handed_over_after_a_look_has_it_asked_again(storage: Storage, listings: list[str]) -> None:
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    [first, then] = [handed_over(index) for index in range(2)]
    assert await answers.to([first, then]) == frozenset()
    await put_segment(storage, 0)
    assert await answers.to([first, then]) == frozenset()
    assert listings == [JOB]
    again = [handed_over(index) for index in range(2)]
    assert await answers.to(again) == frozenset(again[:1])
    assert listings == [JOB, JOB]


async def test_a_look_answers_for_what_was_handed_over_before_it_began_and_for_nothing_else(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, listings: list[str]
) -> None:
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    meanwhile: list[Delivery] = []
    newest = earlier_answers.EarlierAnswers._newest

    async def while_it_looks(self: Any, job: tuple[str, str]) -> dict[str, float]:
        found = await newest(self, job)
        meanwhile.append(handed_over(1))
        await put_segment(storage, 0, 1)
        return found

    before = handed_over(0)
    with monkeypatch.context() as slow:
        slow.setattr(earlier_answers.EarlierAnswers, "_newest", while_it_looks)
        assert await answers.to([before]) == frozenset()
    # Handed over at one time are two kinds of what is known already and what is not: the newest decides for all.
    assert await answers.to([before, *meanwhile]) == frozenset([before, *meanwhile])
    assert listings == [JOB, JOB]


async def test_looks_are_bounded_in_number_and_wait_for_the_store(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    at_once, most, failures = 0, 0, 3

    async def counted(_self: Any, _job: tuple[str, str]) -> dict[str, float]:
        nonlocal at_once, most, failures
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        failures -= 1
        if failures >= 0:
            raise StoreError
        return {}

    monkeypatch.setattr(earlier_answers.EarlierAnswers, "_newest", counted)
    assert await answers.to([handed_over(0, job=f"stream-{number}") for number in range(40)]) == frozenset()
    assert failures == -40
    assert most == earlier_answers._MAX_CONCURRENT_LOOKS


async def test_answer_objects_are_looked_for_some_at_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0

    async def counted(_storage: Storage, _envelope: Envelope) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return False

    monkeypatch.setattr(earlier_answers, "has_answer_object", counted)
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    await answers.to([handed_over(0, job=f"single-{number}", answer=AnswerMode.OBJECT) for number in range(100)])
    assert most == earlier_answers._MAX_CONCURRENT_READS


async def test_a_look_costs_a_listing_and_a_short_read_a_segment(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        lines = [Line(index, b'{"text":"%b"}' % (b"x" * 100_000)) for index in range(10 * number, 10 * number + 10)]
        name = keys.SegmentName("a" * 26, number, 10, failed=0, prompt_tokens=0, completion_tokens=0, engine_ms=0)
        await storage.put(keys.segment(TENANT, JOB, name), encode_segment(lines))
    head, scan, asked = Storage.head, Storage.scan, Counter[str]()

    async def short(self: Storage, key: str, length: int) -> bytes | None:
        found = await head(self, key, length)
        asked.update(reads=1, bytes=len(found or b""))
        return found

    def listing(self: Storage, prefix: str, **more: Any) -> Any:
        asked.update(listings=1)
        return scan(self, prefix, **more)

    async def never(*_: object, **__: object) -> None:
        raise AssertionError("a segment was read whole")

    monkeypatch.setattr(Storage, "head", short)
    monkeypatch.setattr(Storage, "scan", listing)
    monkeypatch.setattr(Storage, "get", never)
    held = [handed_over(index) for index in range(40)]
    assert await earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0)).to(held) == frozenset(held[:30])
    assert (asked["listings"], asked["reads"]) == (1, 3)
    assert asked["bytes"] <= 3 * DIGEST_BYTES


@pytest.mark.parametrize("bound", ["_MAX_RANGES_COUNT", "_MAX_NAMES_COUNT"])
async def test_of_more_than_is_remembered_of_one_job_some_runs_again_and_nothing_breaks(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(earlier_answers, bound, 3)
    of_job = [*range(0, 20, 2)] if bound == "_MAX_RANGES_COUNT" else ["a", "c", "e", "g", "i"]
    for sequence, indexes in enumerate((of_job[:2], of_job[2:])):
        await put_segment(storage, *indexes, sequence=sequence)
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    found = await answers.to([handed_over(index, sent_at=-60.0) for index in of_job])
    assert len(found) <= 3


async def test_what_was_stored_before_a_request_was_sent_answers_another_one(storage: Storage) -> None:
    name = keys.SegmentName("a" * 26, 0, ok=1, failed=0, prompt_tokens=0, completion_tokens=0, engine_ms=0)
    key = keys.segment(TENANT, "stream-x", name)
    await storage.put(key, encode_segment([Line("0-1", b"{}")]))
    written = await storage.modified(key)
    assert written is not None
    # As a topic that was made anew has the same offsets.
    later, before = (handed_over("0-1", job="stream-x", sent_at=written + shift) for shift in (60.0, -60.0))
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    assert await answers.to([later, before]) == frozenset([before])


async def test_many_jobs_at_once_are_each_looked_up_once(storage: Storage, listings: list[str]) -> None:
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    held = [handed_over(0, job=f"stream-{number}") for number in range(40)]
    for _ in range(3):
        await answers.to(held)
    assert len(listings) == 40


async def test_what_is_remembered_of_all_jobs_has_a_bound(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, listings: list[str]
) -> None:
    monkeypatch.setattr(earlier_answers, "_MAX_HELD_COUNT", 10 * earlier_answers._UNITS_PER_JOB)
    answers = earlier_answers.EarlierAnswers(storage, JobCache(storage, 60.0))
    held = [handed_over(0, job=f"stream-{number}") for number in range(11)]
    for delivery in [*held, held[10], held[0]]:
        await answers.to([delivery])
    assert listings[11:] == ["stream-0"]


async def run_by_a_successor(storage: Storage, monkeypatch: pytest.MonkeyPatch, **sent: Any) -> int:
    """How many of a job's two requests run once its worker has died, which had stored the first and told nobody."""
    queue = FakeQueue()

    def send(harness: Harness) -> int:
        harness.send(0, **sent)
        return 1

    successor = Harness(storage, queue=queue)
    await successor.make_job(total=2)
    await die_untold(storage, queue, send, monkeypatch)
    successor.send(1)
    async with running(successor):
        await until(successor.summary)
    return successor.engine.answered


async def put_segment(storage: Storage, *indexes: int | str, sequence: int = 0) -> None:
    """Store a segment of the job with responses to these."""
    counts = dict.fromkeys(("failed", "prompt_tokens", "completion_tokens", "engine_ms"), 0)
    name = keys.SegmentName("a" * 26, sequence, ok=len(indexes), **counts)
    await storage.put(keys.segment(TENANT, JOB, name), encode_segment([Line(index, b"{}") for index in indexes]))


def handed_over(index: int | str, *, job: str = JOB, sent_at: float = 0.0, **more: Any) -> Delivery:
    """A delivery of the job that somebody else has let go of just now."""
    body = {"model": "fake", "messages": []}
    envelope = Envelope(tenant=TENANT, job=job, index=index, custom_id="a", url=Endpoint.CHAT, body=body, **more)
    origin = Origin("queue", str(index), sent_at)
    return Delivery(envelope, b"", origin, Lane.NORMAL, NO_FACTS, None, handed_over_at=time.monotonic())


async def test_what_nobody_had_before_costs_no_look(harness: Harness, listings: list[str]) -> None:
    await harness.make_job(total=20)
    async with running(harness):
        for index in range(20):
            harness.send(index)
        await until(harness.summary)
    assert listings == []


async def test_a_job_with_more_segments_than_are_listed_runs_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_answers, "_MAX_LISTED_COUNT", 0)
    assert await run_by_a_successor(storage, monkeypatch) == 2


async def test_the_newest_segments_of_each_writer_are_read_first(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_answers, "_MAX_READ_COUNT", 4)
    look = earlier_answers.EarlierAnswers(storage, None)  # type: ignore[arg-type]
    old, new = "a" * 26, "b" * 26
    for writer, count in ((old, 2), (new, 5)):
        for sequence in range(count):
            name = keys.SegmentName(writer, sequence, ok=1, failed=0, prompt_tokens=0, completion_tokens=0, engine_ms=0)
            await storage.put(keys.segment(TENANT, JOB, name), b"{}")
    only_errors = keys.SegmentName(old, 9, ok=0, failed=1, prompt_tokens=0, completion_tokens=0, engine_ms=0)
    await storage.put(keys.segment(TENANT, JOB, only_errors), b"{}")
    found = [keys.SegmentName.parse(name) for name in await look._newest((TENANT, JOB))]
    assert {(name.writer, name.sequence) for name in found if name is not None} == {
        (old, 1),
        (old, 0),
        (new, 4),
        (new, 3),
    }
