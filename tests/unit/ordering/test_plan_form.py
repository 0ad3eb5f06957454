"""The stored form of a plan: read again it is the same, and what cannot be one is refused."""

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_input import PlannedInput, line_of

from backburner.ordering.plan import Plan
from backburner_schemas.errors import StoredObjectBroken

HEADER, POOL, ENTRY, DIGEST = 136, 49, 16, 32
LONGEST = 10_000
INPUT = PlannedInput(
    [line_of(number, f"{number % 7}" * 100 + f"{number}", max_tokens=9) for number in range(100)],
    pools=("pool-1", "pool-2"),
)


async def pieces_of(data, size=50):
    for start in range(0, len(data), size):
        yield data[start : start + size]


def stored(given=INPUT):
    with given.plan() as plan:
        return b"".join(plan.pieces())


def sealed(data):
    """With a checksum that fits."""
    return data[:-DIGEST] + sha256(data[:-DIGEST]).digest()


async def read(data, size=50):
    return await Plan.read(pieces_of(data, size), input_bytes=len(INPUT.data), max_line_bytes=LONGEST)


@given(st.integers(1, 3000))
async def test_a_stored_plan_read_again_is_the_same(size):
    with INPUT.plan() as plan, await read(stored(), size) as again:
        assert [*again.entries()] == [*plan.entries()]
        assert (again.digest, again.pools, again.forecast) == (plan.digest, plan.pools, plan.forecast)
        assert b"".join(again.pieces()) == stored()
        assert again.size == len(stored())


def test_a_million_requests_take_sixteen_megabytes():
    assert len(stored()) == HEADER + 2 * POOL + 100 * ENTRY + DIGEST


async def test_entries_can_be_read_from_any_position():
    with INPUT.plan() as plan:
        entries = [*plan.entries()]
        assert [*plan.entries(40, 60)] == entries[40:60]
        assert [*plan.entries(95, 200)] == entries[95:]
        assert [*plan.entries(100)] == []


async def test_a_plan_of_a_job_without_requests_can_be_stored():
    empty = PlannedInput([])
    with empty.plan() as plan:
        assert (plan.count, [*plan.entries()]) == (0, [])


def with_number(data, at, size, number):
    return sealed(data[:at] + number.to_bytes(size, "little") + data[at + size :])


ENTRIES_AT = HEADER + 2 * POOL
FLAGS = 3 << 62


def entry_number(position, offset, size):
    at = ENTRIES_AT + ENTRY * position + offset
    return int.from_bytes(stored()[at : at + size], "little")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"", "too early"),
        (lambda data: b"PK\x03\x04" + data, "does not begin"),
        (lambda data: data[:100], "too early"),
        (lambda data: data[:-1], "too early"),
        (lambda data: data[: ENTRIES_AT + 40], "too early"),
        (lambda data: data + b"x", "behind its end"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
        (lambda data: with_number(data, 6, 2, 2), "version 2"),
        (lambda data: with_number(data, 8, 4, 0), "cannot be"),
        (lambda data: with_number(data, 8, 4, 1001), "cannot be"),
        (lambda data: with_number(data, 16, 8, 1 << 60), "cannot be"),
        (lambda data: with_number(data, 16, 8, 99), "do not add up"),
        (lambda data: with_number(data, 24, 8, 101), "cannot be"),
        (lambda data: with_number(data, 24, 8, 3), "groups"),
        (lambda data: with_number(data, 32, 8, 5), "of an input of 5 bytes"),
        (lambda data: with_number(data, 40, 8, 1 << 63), "cannot be"),
        (lambda data: with_number(data, 56, 8, 101), "cannot be"),
        (lambda data: with_number(data, 64, 8, 1 << 50), "cannot be"),
        (lambda data: with_number(data, HEADER + 41, 8, 49), "do not add up"),
        (lambda data: with_number(data, HEADER + 1, 1, ord("/")), "names a pool"),
        (lambda data: data[: HEADER + POOL] + data[HEADER : HEADER + POOL] + data[ENTRIES_AT:], "do not add up"),
        (lambda data: with_number(data, ENTRIES_AT, 8, FLAGS | len(INPUT.data)), "outside"),
        (lambda data: with_number(data, ENTRIES_AT + 8, 4, 100), "does not have"),
        (lambda data: with_number(data, ENTRIES_AT + 8, 4, entry_number(1, 8, 4)), "twice"),
        (lambda data: with_number(data, ENTRIES_AT + 12, 4, 0), "outside"),
        (lambda data: with_number(data, ENTRIES_AT + 12, 4, LONGEST + 1), "outside"),
        (lambda data: with_number(data, ENTRIES_AT + 50 * ENTRY, 8, entry_number(50, 0, 8) & ~(1 << 63)), "two pools"),
    ],
)
async def test_what_cannot_be_a_plan_of_the_input_is_refused_with_the_reason_and_the_remedy(spoil, reason):
    with pytest.raises(StoredObjectBroken, match=reason) as refused:
        await read(spoil(stored()))
    assert "planned anew" in refused.value.message


async def test_lines_that_are_longer_in_sum_than_the_input_are_refused():
    data = stored()
    for position in range(100):
        at = ENTRIES_AT + position * ENTRY
        data = (
            data[:at]
            + FLAGS.to_bytes(8, "little")
            + data[at + 8 : at + 12]
            + (9000).to_bytes(4, "little")
            + data[at + 16 :]
        )
    with pytest.raises(StoredObjectBroken, match="longer than the input"):
        await read(sealed(with_number(data, 24, 8, 100)))


@given(st.binary(max_size=400), st.integers(0, 2000), st.booleans())
async def test_a_plan_with_any_bytes_in_it_is_refused_or_is_a_whole_permutation(noise, place, resealed):
    data = stored()
    spoiled = data[:place] + noise + data[place + len(noise) :]
    try:
        found = await read(sealed(spoiled) if resealed else spoiled)
    except StoredObjectBroken:
        return
    with found:
        entries = [*found.entries()]
        assert sorted(entry.index for entry in entries) == [*range(100)]
        assert all(entry.offset + entry.length <= len(INPUT.data) for entry in entries)


async def test_nothing_is_left_of_a_plan_that_was_refused(tmp_path):
    with pytest.raises(StoredObjectBroken):
        await Plan.read(pieces_of(b"x"), input_bytes=1, max_line_bytes=1, folder=tmp_path)
    assert not [*tmp_path.iterdir()]


async def test_a_hostile_plan_is_read_no_further_than_it_says_it_goes():
    taken = 0

    async def endless():
        nonlocal taken
        yield stored()
        while True:
            taken += 1
            yield random.Random(1).randbytes(1000)

    with pytest.raises(StoredObjectBroken, match="behind its end"):
        await Plan.read(endless(), input_bytes=len(INPUT.data), max_line_bytes=LONGEST)
    assert taken == 1
