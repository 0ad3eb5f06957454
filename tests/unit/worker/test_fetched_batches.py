"""What comes out of fetched bytes, right and wrong: records, stand-ins, and where reading goes on."""

import gzip
import random
import struct
import tracemalloc

import pytest

from backburner_worker.sources.kafka.batches import codecs, record
from backburner_worker.sources.kafka.batches.fetched import FetchedBatches
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.batches.record import (
    MAX_HEADERS_COUNT,
    MAX_KEPT_BYTES,
    MAX_RECORDS_COUNT,
    Unreadable,
)
from fuzz.batch_bytes import (
    CODECS,
    CONTROL,
    GZIP,
    LOG_APPEND,
    NOW_MS,
    TRANSACTIONAL,
    ZSTD,
    Record,
    at_offset,
    batch,
    gzip_bomb,
    message,
    pack,
    varint,
    zstd_bomb,
)
from fuzz.hostile_batches import RECORDS_PER_BATCH, HostileBatches, placed

MIB = 1024 * 1024
ABORT, COMMIT = struct.pack(">HH", 0, 0), struct.pack(">HH", 0, 1)


def opened(*batches: bytes, offset: int = 0, end: int = 10_000, aborted=(), read_ahead=None) -> FetchedBatches:
    read_ahead = read_ahead or ReadAhead(4 * MIB)
    read_ahead.begin_poll()
    found = FetchedBatches("t", 1, b"".join(batches), offset, aborted, read_committed=True, read_ahead=read_ahead)
    found.highwater = end
    return found


def values(fetched: FetchedBatches) -> list[bytes | str | None]:
    """Values of records, and why there are none."""
    return [each.reason if isinstance(each, Unreadable) else each.value for each in fetched.take(1_000_000)]


def three(*, first: int = 0, **more) -> bytes:
    return at_offset(batch([Record(b"%d" % (first + number)) for number in range(3)], **more), first)


# --- what is right ---


def by_size(value):
    """Names bytes in a test's id by how many there are: they are long, and some have the time in them."""
    return f"{len(value)}-bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize("codec", [0, *CODECS.values()])
def test_records_of_each_codec_come_with_all_that_they_have(codec):
    made = [Record(b"value", headers=((b"name", b"x"), (b"none", None)), time_delta=5), Record(None, key=None)]
    fetched = opened(at_offset(batch(made, codec=codec), 7), offset=7)
    first, second = fetched.take(10)
    assert (first.topic, first.partition, first.offset, first.timestamp) == ("t", 1, 7, NOW_MS + 5)
    assert (first.value, first.headers) == (b"value", (("name", b"x"), ("none", None)))
    assert (second.offset, second.value, second.headers) == (8, None, ())
    assert fetched.exhausted
    assert fetched.position == 9


def test_javas_blocks_of_snappy_are_read():
    content = b"".join(Record(b"x" * 50_000).encode(number) for number in range(2))
    blocks = [pack(CODECS["snappy"], content[at : at + 32_768]) for at in range(0, len(content), 32_768)]
    packed = (
        b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(one)) + one for one in blocks)
    )
    fetched = opened(batch(b"", codec=CODECS["snappy"], packed=packed, count=2, last=1))
    assert [len(each.value) for each in fetched.take(10)] == [50_000, 50_000]


def test_old_formats_are_read_with_their_offsets():
    inner = b"".join(message(b"%d" % number, offset=number) for number in range(3))
    fetched = opened(
        at_offset(message(b"zero", version=0), 4),
        at_offset(message(b"one"), 5),
        at_offset(message(inner, codec=GZIP), 8),
        offset=4,
    )
    assert [(each.offset, each.value) for each in fetched.take(10)] == [
        (4, b"zero"),
        (5, b"one"),
        (6, b"0"),
        (7, b"1"),
        (8, b"2"),
    ]
    assert fetched.position == 9


def test_what_was_read_already_is_passed_by_and_a_poll_takes_no_more_than_asked():
    fetched = opened(three(), three(first=3), offset=2)
    assert [each.value for each in fetched.take(2)] == [b"2", b"3"]
    assert fetched.position == 4
    assert not fetched.exhausted
    assert values(fetched) == [b"4", b"5"]


def test_a_batch_that_the_answer_cuts_off_waits_for_the_next_answer():
    fetched = opened(three(), three(first=3)[:-5])
    assert values(fetched) == [b"0", b"1", b"2"]
    assert fetched.position == 3
    assert fetched.exhausted


def test_gaps_of_a_compacted_log_are_passed_by():
    fetched = opened(batch([Record(b"a", delta=2), Record(b"b", delta=7)], last=9), at_offset(batch([], last=4), 10))
    assert [(each.offset, each.value) for each in fetched.take(10)] == [(2, b"a"), (7, b"b")]
    assert fetched.position == 15


def test_aborted_transactions_are_passed_by_up_to_their_marker():
    def sent(first: int, producer: int) -> bytes:
        return three(first=first, producer=producer, flags=TRANSACTIONAL)

    def marker(offset: int, producer: int, kind: bytes) -> bytes:
        made = batch([Record(b"\x00" * 6, key=kind)], producer=producer, flags=TRANSACTIONAL | CONTROL)
        return at_offset(made, offset)

    log = sent(0, 7), sent(3, 8), marker(6, 7, ABORT), sent(7, 7), marker(10, 7, COMMIT), marker(11, 8, COMMIT)
    fetched = opened(*log, aborted=[(7, 0)])
    assert values(fetched) == [b"3", b"4", b"5", b"7", b"8", b"9"]
    assert fetched.position == 12
    assert values(opened(*log)) == [b"%d" % number for number in (0, 1, 2, 3, 4, 5, 7, 8, 9)]


# --- what takes too much ---


@pytest.mark.parametrize(
    ("codec", "packed"),
    [
        (GZIP, gzip_bomb(32 * MIB)),
        (ZSTD, zstd_bomb(1024 * MIB)),
        (ZSTD, zstd_bomb(1024 * MIB, window_bits=31)),
        (CODECS["lz4"], pack(CODECS["lz4"], bytes(8 * MIB))),
        (CODECS["snappy"], pack(CODECS["snappy"], bytes(8 * MIB))),
        (CODECS["snappy"], b"\xff\xff\xff\xff\x0f"),
    ],
    ids=by_size,
)
def test_a_bomb_is_set_aside_with_its_bytes_and_reading_goes_on(codec, packed):
    bomb = batch(b"", codec=codec, packed=packed, count=3, last=2)
    fetched = opened(bomb, three(first=3))
    stand_in, *rest = fetched.take(10)
    assert "unpacks to more than 4,194,304 bytes" in stand_in.reason
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (0, 3, False)
    assert stand_in.value == bomb[: record.MAX_KEPT_BYTES]
    assert [each.value for each in rest] == [b"3", b"4", b"5"]


def test_an_old_bomb_and_one_wrapped_in_another_are_set_aside():
    bomb = message(message(bytes(8 * MIB)), codec=GZIP)
    nested = message(message(message(b"{}"), codec=GZIP), codec=GZIP)
    fetched = opened(bomb, at_offset(nested, 1), three(first=2))
    bombed, wrapped = values(fetched)
    assert "unpacks to more than" in bombed
    assert "compressed once more" in wrapped
    assert fetched.position == 2


def test_unpacking_takes_no_memory_beyond_its_bound():
    with pytest.raises(codecs.Undecodable):
        codecs.unpack(ZSTD, zstd_bomb(1024 * MIB), 64 * 1024)
    buffer, size = codecs.unpack(ZSTD, zstd_bomb(64 * 1024), 128 * 1024)
    assert (buffer[:size].count(b"a"), size) == (128 * 1024, 128 * 1024)


def test_a_poll_unpacks_a_bounded_number_of_batches_and_the_next_goes_on():
    read_ahead = ReadAhead(4 * MIB)
    bombs = [at_offset(batch(b"", codec=ZSTD, packed=zstd_bomb(64 * MIB), count=1, last=0), at) for at in range(4)]
    fetched = opened(*bombs, three(first=4), read_ahead=read_ahead)
    assert [each.offset for each in fetched.take(100)] == [0, 1]
    assert fetched.take(100) == []
    read_ahead.begin_poll()
    assert [each.offset for each in fetched.take(100)] == [2, 3]
    read_ahead.begin_poll()
    assert values(fetched) == [b"4", b"5", b"6"]


def test_a_poll_hands_out_a_bounded_number_of_bytes():
    read_ahead = ReadAhead(64 * MIB)
    large = batch([Record(bytes(3 * MIB)) for _ in range(5)], codec=ZSTD)
    fetched = opened(large, read_ahead=read_ahead)
    assert len(fetched.take(100)) == 3
    read_ahead.begin_poll()
    assert len(fetched.take(100)) == 2


def test_a_large_batch_that_is_dropped_again_and_again_since_others_are_fetched_goes_on():
    read_ahead = ReadAhead(24 * MIB)
    data = at_offset(batch([Record(b"x" * MIB) for _ in range(17)], codec=GZIP), 0)
    position, polls = 0, 0
    while position < 17:
        read_ahead.begin_poll()
        fetched = FetchedBatches("t", 1, data, position, (), read_committed=True, read_ahead=read_ahead)
        fetched.highwater = 17
        fetched.take(500)
        assert fetched.position > position
        position, polls = fetched.position, polls + 1
        # An answer for another partition: what is unpacked makes room for it.
        FetchedBatches("t", 2, b"y" * 256 * 1024, 0, (), read_committed=True, read_ahead=read_ahead)
    assert polls <= 3


@pytest.mark.parametrize("old", [False, True])
def test_keys_which_nobody_reads_take_no_memory(old):
    def bomb(offset: int) -> bytes:
        if old:
            return at_offset(message(message(b"{}", key=bytes(MIB)), codec=GZIP), offset)
        return at_offset(batch([Record(b"{}", key=bytes(MIB))], codec=ZSTD), offset)

    fetched = opened(*map(bomb, range(6)))
    tracemalloc.start()
    try:
        found = fetched.take(10)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.value for each in found] == [b"{}"] * 6
    assert held_bytes < MIB


def test_what_is_held_of_all_partitions_is_bounded_and_what_is_dropped_is_fetched_again():
    read_ahead = ReadAhead(64 * MIB)
    several = [opened(batch([Record(b"a"), Record(bytes(6 * MIB))]), read_ahead=read_ahead) for _ in range(4)]
    dropped = [fetched.exhausted for fetched in several]
    assert dropped == [True, True, False, False]
    assert several[0].take(10) == []
    assert several[0].position == 0


def test_too_many_records_are_one_letter():
    content = Record(None, key=None).encode(0) * 5
    count = MAX_RECORDS_COUNT + 1
    fetched = opened(batch(content, count=count, last=count - 1), end=10**9)
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until) == (0, count)


# --- what cannot be decoded ---


def snappy_blocks(*lengths):
    """A batch that holds snappy as Java writes it: the lengths that stand before blocks, and half of one more."""
    packed = b"\x82SNAPPY\x00" + struct.pack(f">ii{len(lengths)}i", 1, 1, *lengths) + b"\x00\x00"
    return batch(b"", codec=CODECS["snappy"], packed=packed, count=3, last=2)


def test_a_name_that_is_not_utf8_costs_no_record_anything():
    bad = Record(b"1", headers=((b"\xff\xfe", b"x"), (b"attempt", b"2")))
    found = opened(batch([Record(b"0"), bad, Record(b"2")])).take(10)
    assert [each.value for each in found] == [b"0", b"1", b"2"]
    assert found[1].headers == (("\ufffd\ufffd", b"x"), ("attempt", b"2"))


@pytest.mark.parametrize(
    ("raw", "count", "kept"),
    [
        ((varint(1) + b"n" + varint(-1)) * 1000, 1000, MAX_HEADERS_COUNT),
        (varint(0) + varint(-1) + varint(1_000_000) + b"n" * 1_000_000 + varint(0), 2, 1),
        (varint(0) + varint(1_000_000) + b"v" * 1_000_000, 1, 0),
    ],
    ids=by_size,
)
def test_headers_beyond_the_bounds_are_passed_over(raw, count, kept):
    found = opened(batch([Record(b"0", header_count=count, raw_headers=raw), Record(b"1")])).take(10)
    assert [each.value for each in found] == [b"0", b"1"]
    assert len(found[0].headers) == kept


@pytest.mark.parametrize(
    "bad",
    [
        Record(b"{}", value_length=500),
        Record(b"{}", value_length=2**62),
        Record(b"{}", header_count=-1),
        Record(b"{}", header_count=2**62),
        Record(b"{}", header_count=3, raw_headers=varint(2**40)),
        Record(b"{}", header_count=0, raw_headers=b"x"),
        Record(b"{}", delta=-1),
        Record(b"{}", delta=0),
        Record(b"{}", delta=3),
        Record(b"{}", delta=2**62),
    ],
)
def test_a_malformed_record_costs_itself_alone(bad):
    fetched = opened(batch([Record(b"0"), bad, Record(b"2")]), three(first=3))
    first, stand_in, *rest = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.reason) == (1, 2, "the record is malformed")
    assert b"{}" in stand_in.value
    assert [each.value for each in (first, *rest)] == [b"0", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("length", [-1, 0, 2**31 - 1, 2**62, -(2**62)])
def test_behind_a_record_without_an_end_the_rest_of_its_batch_is_one_letter(length):
    fetched = opened(batch([Record(b"0"), Record(b"{}", length=length), Record(b"2")]), three(first=3))
    first, stand_in, *rest = fetched.take(10)
    assert (stand_in.offset, stand_in.until) == (1, 3)
    assert [each.value for each in (first, *rest)] == [b"0", b"3", b"4", b"5"]


def test_what_a_batch_holds_beyond_its_count_is_one_letter():
    fetched = opened(three(count=1), three(first=3))
    first, stand_in, *rest = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.reason) == (1, 3, "its batch holds more than it says")
    assert [each.value for each in (first, *rest)] == [b"0", b"3", b"4", b"5"]


def test_a_poll_takes_no_more_than_asked_of_a_batch_that_holds_more_than_it_says():
    fetched = opened(batch([Record(b"{}")] * 4, count=3, last=3), three(first=4))
    assert [each.value for each in fetched.take(3)] == [b"{}"] * 3
    stand_in, *rest = fetched.take(3)
    assert (stand_in.offset, stand_in.until, stand_in.reason) == (3, 4, "its batch holds more than it says")
    assert [each.value for each in rest] == [b"4", b"5"]


def test_a_number_that_goes_on_and_on_is_malformed():
    body = b"\x00" + b"\x80" * 11 + b"\x00" + varint(1) + varint(-1) + varint(2) + b"{}" + varint(0)
    content = Record(b"0").encode(0) + varint(len(body)) + body + Record(b"2").encode(2)
    first, stand_in, last = opened(batch(content, count=3, last=2)).take(10)
    assert (first.value, stand_in.reason, last.value) == (b"0", "the record is malformed", b"2")


def test_no_more_than_a_bound_is_kept_of_what_cannot_be_read():
    large = Record(bytes(MAX_KEPT_BYTES + MIB), value_length=1)
    unread = batch([large], codec=5)
    damaged = batch([large], broken_checksum=True)
    for fetched in (opened(batch([large])), opened(unread), opened(damaged)):
        (stand_in,) = fetched.take(10)
        assert len(stand_in.value) == MAX_KEPT_BYTES


def test_many_malformed_records_of_a_batch_are_few_letters():
    fetched = opened(batch([Record(b"{}", value_length=500) for _ in range(1000)]), end=10_000)
    found = fetched.take(10_000)
    assert len(found) == 17
    assert found[-1].until == fetched.position == 1000


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (three(codec=5), "codec, 5, is unknown"),
        (batch(b"", codec=ZSTD, packed=b"\xff" * 50, count=3, last=2), "zstd data is broken"),
        (batch(b"", codec=GZIP, packed=gzip.compress(b"x" * 99)[:20], count=3, last=2), "gzip data is broken"),
        (snappy_blocks(-4), "snappy data is cut off"),
        (snappy_blocks(1000), "snappy data is cut off"),
        (snappy_blocks(), "snappy data is cut off"),
        (three(count=-1), "holds -1 records"),
        (three(count=0), "holds no records, and does"),
        (three(count=2**31 - 1), "holds 2,147,483,647 records"),
        (three(flags=CONTROL), "transaction's marker, and is none"),
    ],
    ids=by_size,
)
def test_a_batch_that_cannot_be_read_is_one_letter_and_reading_goes_on(bad, reason):
    fetched = opened(three(), at_offset(bad, 3), three(first=6))
    found = fetched.take(100)
    assert reason in found[3].reason
    assert (found[3].offset, found[3].until, found[3].damaged) == (3, 6, False)
    assert found[3].value == at_offset(bad, 3)
    assert [each.value for each in found[:3] + found[4:]] == [b"0", b"1", b"2", b"6", b"7", b"8"]


@pytest.mark.parametrize(
    "bad",
    [
        three(broken_checksum=True),
        at_offset(message(b"{}", broken_checksum=True), 2),
        three(version=3),
        three(version=255),
        three(broken_checksum=True, last=2**31 - 1),
    ],
    ids=by_size,
)
def test_damaged_bytes_are_told_from_what_was_sent_so(bad):
    fetched = opened(at_offset(bad, 2 if bad[16] < 2 else 0), three(first=3))
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (0, 3, True)
    assert fetched.exhausted  # Where the next batch begins is as doubtful: it is fetched anew.


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 1, 48, 2**31 - 1])
def test_a_length_that_cannot_be_moves_reading_on_by_one_offset(length):
    data = three(first=5)
    fetched = opened(data[:8] + struct.pack(">i", length) + data[12:], three(first=8), offset=5)
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (5, 6, True)
    assert stand_in.reason.startswith("its batch ")
    assert fetched.exhausted


@pytest.mark.parametrize("base", [-1, -(2**63), 2**62, 10_000])
def test_offsets_that_the_log_does_not_have_are_not_believed(base):
    fetched = opened(at_offset(three(), base), offset=5)
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (5, 6, True)
    assert fetched.position == 6


@pytest.mark.parametrize("last", [-1, -(2**31), 2**31 - 1])
def test_a_last_offset_that_cannot_be_skips_nothing_behind_it(last):
    found = opened(three(last=last), three(first=3), three(first=6)).take(10)
    assert [each.value for each in found if 3 <= each.offset < 6] == [b"3", b"4", b"5"]
    assert opened(three(last=last)).take(10)[-1].offset <= 2


@pytest.mark.parametrize("first_ms", [-1, 0, -(2**63), 2**63 - 1, 221_845_478_400_000])
@pytest.mark.parametrize("flags", [0, LOG_APPEND])
def test_times_are_cut_to_what_a_calendar_holds(first_ms, flags):
    (found,) = opened(batch([Record(b"0", time_delta=-5)], first_ms=first_ms, flags=flags)).take(1)
    assert 0 <= found.timestamp <= 253_402_300_799_999


@pytest.mark.parametrize("covered_count", [1, 2])
def test_a_damaged_batch_whose_length_covers_its_neighbours_passes_none_of_them_by(covered_count):
    neighbours = [three(first=3 * number) for number in range(1, covered_count + 2)]
    bad = covering(three(), b"".join(neighbours[:covered_count]))
    (stand_in,) = opened(bad, *neighbours).take(100)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (0, 3, True)


def test_a_damaged_header_that_says_less_than_was_asked_for_is_passed_by_up_to_the_next_batch():
    bad = batch([Record(b"%d" % number) for number in range(100)], last=2, broken_checksum=True)
    fetched = opened(bad, three(first=100), offset=3)
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (3, 100, True)


@pytest.mark.parametrize("base", [3, 4, 500])
@pytest.mark.parametrize("more", [{}, {"broken_checksum": True}])
def test_an_offset_behind_that_of_the_next_batch_passes_nothing_by(base, more):
    fetched = opened(at_offset(three(**more), base), three(first=3))
    (stand_in,) = fetched.take(10)
    assert (stand_in.offset, stand_in.until, stand_in.damaged) == (0, 3, True)
    assert fetched.position == 3


def test_a_last_offset_beyond_the_log_and_a_neighbour_behind_a_false_gap_pass_nothing_by_together():
    fetched = opened(three(last=2**24), at_offset(three(), 500), three(first=6))
    found = fetched.take(10)
    assert [(each.offset, each.until) for each in found if isinstance(each, Unreadable)] == [(3, 6)]
    assert fetched.position == 6


def test_a_gap_before_the_last_batch_of_an_answer_is_believed_once_that_comes_first():
    fetched = opened(three(), three(first=500))
    assert [each.offset for each in fetched.take(10)] == [0, 1, 2]
    assert (fetched.position, fetched.exhausted) == (3, True)
    assert [each.offset for each in opened(three(first=500), offset=3).take(10)] == [500, 501, 502]
    # A broker that begins with what was read already would answer the same again.
    assert [each.offset for each in opened(three(), three(first=500), offset=3).take(10)] == [500, 501, 502]


def covering(data: bytes, neighbours: bytes) -> bytes:
    """The batch, with a length that reaches to the end of what lies behind it: so does one that lost bytes."""
    return data[:8] + struct.pack(">i", len(data) - 12 + len(neighbours)) + data[12:]


def hostile_log(seed: int) -> tuple[list[tuple[int, int, bytes]], list[bytes]]:
    """A partition's batches, each with where it begins and ends; and the custom_ids of its good records."""
    made = [*HostileBatches(seed, MIB).batches(250, light=True)]
    dice = random.Random(seed)
    counts = [
        struct.unpack_from(">i", one.data, 57)[0] if one.form.startswith("good") else RECORDS_PER_BATCH for one in made
    ]
    log: list[tuple[int, int, bytes]] = []
    for at, (one, count) in enumerate(zip(made, counts, strict=True)):
        begin = log[-1][1] if log else 0
        data = placed(one.data, begin)
        # Where two neighbours lie about their offsets nothing tells where either is.
        if one.form == "wrong offset" and made[at + 1 :] and made[at + 1].form.startswith("good"):
            data = at_offset(data, dice.randrange(sum(counts)))
        log.append((begin, begin + count, data))
    for at, one in enumerate(made[:-3]):
        if one.form == "wrong checksum":
            begin, end, data = log[at]
            neighbours = b"".join(each for _, _, each in log[at + 1 : at + 1 + dice.randrange(3)])
            log[at] = begin, end, covering(data, neighbours)
    return log, [good.custom_id.encode() for one in made for good in one.good]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_each_good_record_comes_once_and_reading_ends(seed):
    dice = random.Random(seed)
    log, wanted = hostile_log(seed)
    end = log[-1][1]
    found, position, tries = bytearray(), 0, 0
    read_ahead = ReadAhead(4 * MIB)
    while position < end:
        start, tries = position, tries + 1
        assert tries < 3 * end
        at = next(number for number, (_, until, _) in enumerate(log) if until > position)
        data = b"".join(each for _, _, each in log[at : at + dice.choice((2, 5, 50))])
        # A broker may cut off the last batch of an answer, never the first. Alone, one with an offset that is not its
        # own looks like what compaction leaves.
        least = len(log[at][2]) + (17 if log[at][2][:8] != struct.pack(">q", log[at][0]) else 0)
        data = data[: dice.randrange(min(least, len(data)), len(data) + 1)]
        fetched = opened(data, offset=position, end=end, read_ahead=read_ahead)
        while not fetched.exhausted:
            read_ahead.begin_poll()
            for each in fetched.take(dice.choice((1, 500))):
                assert each.offset >= position
                position = each.offset + 1
                found += b"" if isinstance(each, Unreadable) else (each.value or b"")
        position = fetched.position
        assert position > start
    assert [custom_id for custom_id in wanted if found.count(b'"%s"' % custom_id) != 1] == []
