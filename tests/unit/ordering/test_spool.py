"""Lines on disk in the order of their plan: each is its own, and an input that was changed is found out."""

import asyncio
import json
import os
import threading
from mmap import mmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_input import PlannedInput, line_of

from backburner.inputs.batch import Accepted
from backburner.inputs.validation import canonical
from backburner.ordering import spool as spool_module
from backburner.ordering.spool import Spool, SpooledLine
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.request import parse_request

MANY = 1 << 20
INPUT = PlannedInput(
    [line_of(number, f"{number % 7}" * 100 + f"{number}" * (number % 5)) for number in range(60)],
    pools=("pool-1", "pool-2"),
)


@given(st.integers(100, 5000), st.integers(0, 60), st.integers(5, 64), st.integers(1, 5000))
@settings(max_examples=min(50, settings.default.max_examples))
async def test_each_position_has_the_line_that_the_plan_put_there(size, start, together, max_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "_LANDMARK_REQUESTS", 16)
        with INPUT.plan() as plan, await Spool.build(plan, INPUT.pieces(size), start=start) as spool:
            found = []
            while start < plan.count:
                lines = await spool.lines(start, start + together, max_bytes=max_bytes)
                assert len(lines) == 1 or sum(len(line.data) for line in lines) <= max_bytes
                found += lines
                start += len(lines)
            entries, groups = [], -1
            for position, entry in enumerate(plan.entries()):
                groups += entry.opens_group
                entries.append((position, entry.index, groups, INPUT.pools[entry.index], INPUT.lines[entry.index]))
            assert [(line.position, line.index, line.group, line.pool, line.data) for line in found] == entries[
                plan.count - len(found) :
            ]


async def test_behind_the_end_there_is_nothing_and_before_the_beginning_it_says_so():
    with INPUT.plan() as plan, await Spool.build(plan, INPUT.pieces(), start=10) as spool:
        assert await spool.lines(60, 70, max_bytes=MANY) == []
        with pytest.raises(ValueError, match="begins at 10"):
            await spool.lines(9, 12, max_bytes=MANY)


async def test_the_disk_holds_only_what_is_kept_and_no_file_can_be_seen(tmp_path):
    with INPUT.plan() as plan, await Spool.build(plan, INPUT.pieces(), start=45, folder=tmp_path) as spool:
        kept = sum(entry.length for entry in plan.entries(45))
        assert os.fstat(spool._file.fileno()).st_size == kept
        assert not [*tmp_path.iterdir()]


async def test_what_is_mapped_has_its_room_on_the_disk(monkeypatch):
    """On a full disk a mapped page without room ends the process with a signal, where a write raises an error."""
    rooms = []

    def mapped(descriptor, size):
        rooms.append(os.fstat(descriptor).st_blocks * 512 - size)
        return mmap(descriptor, size)

    monkeypatch.setattr(spool_module, "mmap", mapped)
    with INPUT.plan() as plan, await Spool.build(plan, INPUT.pieces()):
        assert min(rooms) >= 0


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + b" ",
        lambda data: data[:-300],
        lambda data: data + b"\n",
        lambda data: data.replace(b"r7", b"r8", 1),
    ],
)
async def test_an_input_that_was_changed_since_it_was_planned_is_refused(change):
    async def changed():
        yield change(INPUT.data)

    with INPUT.plan() as plan, pytest.raises(StoredObjectBroken, match="not the one that the job's plan is of"):
        await Spool.build(plan, changed())


async def test_a_plan_whose_lines_overlap_is_refused():
    one = PlannedInput([line_of(0, "a"), line_of(1, "b")])
    with one.plan() as plan:
        entries = [entry._replace(offset=0) for entry in plan.entries()]
        plan.entries = lambda *_: iter(entries)
        with pytest.raises(StoredObjectBroken):
            await Spool.build(plan, one.pieces())


async def test_a_job_without_requests_has_a_spool_without_lines():
    empty = PlannedInput([])
    with empty.plan() as plan, await Spool.build(plan, empty.pieces()) as spool:
        assert await spool.lines(0, 10, max_bytes=MANY) == []


async def test_an_empty_line_at_the_end_of_a_piece_moves_nothing():
    lines = [line_of(number, "x" * number) for number in range(50)]
    one = PlannedInput(lines)
    with one.plan() as plan, await Spool.build(plan, one.pieces(len(lines[0]) + 1)) as spool:
        found = await spool.lines(0, 50, max_bytes=MANY)
        assert [line.data for line in sorted(found, key=lambda line: line.index)] == lines


def test_a_line_that_may_travel_as_it_stands_is_sent_without_being_read():
    line = line_of(1, "hello")
    spooled = SpooledLine(0, 0, 0, "fake", line, verbatim=True)
    assert b"{" + spooled.members(0) + b"}" == line


def test_any_other_line_is_sent_in_its_canonical_form():
    line = b' {"url": "/v1/chat/completions", "custom_id": "a", "more": 1, "body": {"model": "m", "messages": []}} '
    found = SpooledLine(0, 0, 0, "fake", line, verbatim=False).members(1000)
    request = parse_request(line)
    assert found == Accepted(1, request, canonical(request), "fake").members
    assert json.loads(b"{" + found + b"}")["custom_id"] == "a"


class HeldCall:
    """A call of the system that a thread makes, and that waits until it is let go."""

    def __init__(self, call):
        self.call = call
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, *args):
        self.entered.set()
        assert self.go.wait(30)
        return self.call(*args)


async def test_a_spool_that_is_given_up_while_it_is_filled_closes_its_file_only_when_nothing_writes_any_more(
    monkeypatch,
):
    """Otherwise the rest of the piece could be written into whatever file got its number: the spool of another job."""
    write = HeldCall(os.pwrite)
    monkeypatch.setattr(os, "pwrite", write)
    with INPUT.plan() as plan:
        building = asyncio.create_task(Spool.build(plan, INPUT.pieces(MANY)))
        assert await asyncio.to_thread(write.entered.wait, 30)
        building.cancel()
        await asyncio.wait([building], timeout=0.05)
        assert not building.done()
        write.go.set()
        with pytest.raises(asyncio.CancelledError):
            await building


async def test_a_spool_that_is_closed_while_it_is_read_closes_its_file_only_when_nothing_reads_any_more(monkeypatch):
    with INPUT.plan() as plan:
        spool = await Spool.build(plan, INPUT.pieces(MANY))
        read = HeldCall(os.pread)
        monkeypatch.setattr(os, "pread", read)
        reading = asyncio.create_task(spool.lines(0, 5, max_bytes=MANY))
        assert await asyncio.to_thread(read.entered.wait, 30)
        closing = threading.Thread(target=spool.close)
        closing.start()
        assert not spool._file.closed
        read.go.set()
        assert len(await reading) == 5
        closing.join(30)
        assert spool._file.closed
        with pytest.raises(ValueError, match="closed"):
            await spool.lines(5, 10, max_bytes=MANY)
