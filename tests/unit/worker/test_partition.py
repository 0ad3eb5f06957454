"""One partition while it is ours: what is committed of it, what a commit covers, and when it is read no further."""

import pytest

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.kafka.ledger import Ledger
from backburner_worker.sources.kafka.marks import MAX_CHARACTERS, NOTHING, UNKNOWN_LOG, Log, Marks, decode
from backburner_worker.sources.kafka.partition import (
    MAX_OFFSETS_AHEAD,
    STOP_AT_RATIO,
    Commit,
    PartitionState,
    uncovered,
)

MIN_CHANGES = 256
CHARACTERS_PER_CHANGE = 4


def of(*offsets: int) -> IndexSet:
    return IndexSet.of(offsets)


def reading(taken: int, *, settled: tuple[int, ...] = (), begun: tuple[int, ...] = ()) -> PartitionState:
    """A partition of which that many offsets were taken, from 0 on."""
    state = PartitionState(3, Ledger(0))
    for offset in range(taken):
        assert state.ledger.take(offset)
    for offset in begun:
        state.ledger.begin(offset)
    for offset in settled:
        assert state.ledger.settle(offset)
    return state


def scattered(state: PartitionState, changes: int, first: int = 1) -> None:
    """Settle so many offsets, a hundred apart, so that each takes two bytes of the marks."""
    for number in range(changes):
        assert state.ledger.settle(first + 100 * number)


def test_a_new_partition_has_nothing_committed_or_known():
    state = PartitionState(3, Ledger(0))
    assert (state.earlier, state.suspects, state.again, state.committed_started) == (NOTHING,) * 4
    assert (state.write_ahead_until, state.committed, state.log, state.fill) == (0, None, UNKNOWN_LOG, 0.0)
    assert (state.deliveries, state.unsaved, state.told) == ({}, set(), False)


def test_the_first_commit_tells_that_work_begins_and_the_next_only_news():
    state = reading(3)
    first = state.to_commit(7, clean=False, kept=True)
    assert first is not None
    assert (first.offset, first.epoch, first.changes) == (0, 3, 0)
    assert not state.told
    state.note(first)
    assert state.told
    assert state.committed == 0
    assert state.to_commit(7, clean=False, kept=True) is None
    state.ledger.settle(0)
    again = state.to_commit(7, clean=False, kept=True)
    assert again is not None
    assert (again.offset, again.changes) == (1, 1)


def test_letting_go_cleanly_is_always_news():
    state = reading(1)
    first = state.to_commit(7, clean=True, kept=True)
    assert first is not None
    state.note(first)
    assert state.to_commit(7, clean=False, kept=True) is None
    last = state.to_commit(7, clean=True, kept=True)
    assert last is not None
    assert decode(last.text, 0).clean


def test_a_commit_records_what_is_known_above_its_offset():
    state = reading(12, settled=(0, 5, 7), begun=(3, 4))
    state.earlier, state.suspects = of(0, 3, 5), of(0, 7, 9)
    state.write_ahead_until, state.log = 20, Log(b"t" * 16, 4, 2, renewed=True)
    commit = state.to_commit(7, clean=False, kept=True)
    assert commit is not None
    assert decode(commit.text, 1) == Marks(
        clean=False,
        incarnation=7,
        completed=of(5, 7),
        started=of(3, 4),
        earlier=of(3),
        suspects=of(9),
        write_ahead_until=20,
        log=state.log,
    )
    assert commit == Commit(1, commit.text, 3, 5, of(5, 7), of(3, 4), state.log)


def test_what_is_found_out_of_the_log_is_news():
    state = reading(3, settled=(0, 1, 2))
    for log in (UNKNOWN_LOG, Log(b"t" * 16, 4, 3)):
        state.log = log
        commit = state.to_commit(7, clean=False, kept=True)
        assert commit is not None
        assert decode(commit.text, 3).log == log
        state.note(commit)
        assert state.to_commit(7, clean=False, kept=True) is None


def test_what_the_broker_has_is_noted_with_what_it_covers():
    state = reading(12, settled=(0, 5), begun=(3,))
    state.unsaved = {0, 4, 5, 8}
    commit = state.to_commit(7, clean=False, kept=True)
    assert commit is not None
    state.note(commit)
    assert (state.committed, state.committed_started, state.unsaved) == (1, of(3), {4, 8})


def test_what_was_started_counts_as_committed_where_it_did_not_fit():
    begun = tuple(range(1, 200_000, 100))
    state = reading(200_000, begun=begun)
    commit = state.to_commit(7, clean=False, kept=True)
    assert commit is not None
    assert len(decode(commit.text, 0).started) < len(begun)
    assert commit.started == IndexSet.of(begun)


def test_where_no_marks_are_kept_the_offset_alone_is_news():
    state = reading(5, settled=(2,), begun=(1,))
    commit = state.to_commit(7, clean=True, kept=False)
    assert commit == Commit(0, "", 3, 2, NOTHING, NOTHING)
    state.note(commit)
    assert state.told
    assert state.to_commit(7, clean=True, kept=False) is None
    state.ledger.settle(0)
    assert state.to_commit(7, clean=False, kept=False) == Commit(1, "", 3, 3, NOTHING, NOTHING)


@pytest.mark.parametrize("offset", [4, 5, 6, 7])
def test_a_commit_covers_what_is_below_its_offset_or_done_above_it(offset):
    assert uncovered([offset], 5, of(6)) == ({offset} if offset in {5, 7} else set())


# --- how far a partition is read --------------------------------------------------------------------------


def test_without_marks_a_partition_is_read_so_far_ahead_and_no_further():
    state = reading(MAX_OFFSETS_AHEAD - 1)
    assert not state.is_full(kept=False)
    state.ledger.take(MAX_OFFSETS_AHEAD - 1)
    assert state.is_full(kept=False)
    assert not state.is_full(kept=True)
    state.ledger.settle(0)
    assert not state.is_full(kept=False)


def test_what_is_known_already_is_read_however_far_it_reaches():
    done = IndexSet([(1, 2 * MAX_OFFSETS_AHEAD)])
    state = PartitionState(3, Ledger(0, done=done))
    state.ledger.take(0)
    assert not state.is_full(kept=False)
    many = PartitionState(3, Ledger(0, done=IndexSet.of(range(1, 200_000, 100))))
    assert not many.is_full(kept=True)
    assert many.fill == 0.0


@pytest.mark.parametrize("is_reread", [False, True])
def test_a_partition_that_was_read_too_far_ahead_is_read_on_while_it_is_read_again(is_reread):
    state = reading(MAX_OFFSETS_AHEAD)
    state.is_reread = is_reread
    assert state.is_full(kept=False) is not is_reread


def test_a_partition_that_was_read_too_far_ahead_is_read_on_to_what_is_known_behind():
    state = PartitionState(3, Ledger(0, done=IndexSet([(2 * MAX_OFFSETS_AHEAD, 2 * MAX_OFFSETS_AHEAD + 10)])))
    for offset in range(MAX_OFFSETS_AHEAD + 1):
        state.ledger.take(offset)
    assert not state.is_full(kept=False)


def test_with_marks_a_partition_is_read_until_they_fill_three_quarters_of_their_room():
    state = reading(140_000)
    assert not state.is_full(kept=True)
    settled = 0
    while not state.is_full(kept=True):
        scattered(state, MIN_CHANGES, 1 + 100 * settled)
        settled += MIN_CHANGES
    assert state.fill >= STOP_AT_RATIO
    text = state.to_commit(0, clean=False, kept=True).text
    assert state.fill == len(text) / MAX_CHARACTERS
    # As much as fits into one measurement before it was not too much yet.
    assert len(text) < STOP_AT_RATIO * MAX_CHARACTERS + MIN_CHANGES * CHARACTERS_PER_CHANGE


def test_marks_are_full_at_three_quarters_to_the_character():
    state = reading(1)
    assert not state.is_full(kept=True)
    state.fill = STOP_AT_RATIO
    assert state.is_full(kept=True)


def test_the_room_is_measured_again_once_changes_could_have_filled_it():
    state = reading(120_000)
    state.is_full(kept=True)
    first, room = state.fill, int((STOP_AT_RATIO - state.fill) * MAX_CHARACTERS / CHARACTERS_PER_CHANGE)
    assert first == len("bb1.") / MAX_CHARACTERS + 20 / MAX_CHARACTERS
    assert room == 762
    scattered(state, room - 1)
    state.is_full(kept=True)
    assert state.fill == first
    scattered(state, 1, 1 + 100 * (room - 1))
    state.is_full(kept=True)
    assert state.fill > first


def test_a_full_partition_is_measured_again_after_few_changes_not_each():
    state = reading(140_000)
    scattered(state, 1_300)
    assert state.is_full(kept=True)
    full = state.fill
    scattered(state, MIN_CHANGES - 1, 51)
    assert state.is_full(kept=True)
    assert state.fill == full
    scattered(state, 1, 51 + 100 * (MIN_CHANGES - 1))
    assert state.is_full(kept=True)
    assert state.fill != full


def test_a_commit_measures_the_room_too():
    state = reading(120_000)
    scattered(state, 400)
    commit = state.to_commit(7, clean=False, kept=True)
    assert commit is not None
    assert state.fill == len(commit.text) / MAX_CHARACTERS
