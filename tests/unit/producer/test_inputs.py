"""Reading iterables: what is gathered before it is handed on, whatever the size of the items."""

from contextlib import aclosing

import pytest

from backburner.blocking.loop_thread import Feed, LoopThread
from backburner.inputs.items import CHUNK_BYTES, CHUNK_LINES, read_items
from backburner_schemas.errors import InvalidJson

LARGE = 500_000


async def nothing_to_close():
    pass


@pytest.fixture
def thread():
    thread = LoopThread(nothing_to_close)
    yield thread
    thread.close()


class Source:
    """Gives as many items, and counts those that were taken from it."""

    def __init__(self, count, item):
        self.left, self.item, self.drawn = count, item, 0

    def plain(self):
        for _ in range(self.left):
            self.drawn += 1
            yield self.item

    async def asynchronous(self):
        for item in self.plain():
            yield item


@pytest.mark.parametrize("kind", [Source.plain, Source.asynchronous])
@pytest.mark.parametrize("item", [{"text": "x" * LARGE}, "x" * LARGE, b"x" * LARGE], ids=["dict", "str", "bytes"])
async def test_large_items_are_handed_on_by_their_bytes(kind, item):
    source = Source(40, item)
    numbers = []
    async with aclosing(read_items(kind(source))) as chunks:
        async for chunk in chunks:
            numbers += [number for number, _ in chunk]
            assert sum(len(text) for _, text in chunk) < CHUNK_BYTES + LARGE + 100
            # What was handed on, and at most one chunk that is gathered meanwhile.
            assert (source.drawn - numbers[-1]) * LARGE < CHUNK_BYTES + LARGE
    assert numbers == list(range(1, 41))


@pytest.mark.parametrize("kind", [Source.plain, Source.asynchronous])
async def test_small_items_are_handed_on_by_their_number(kind):
    source = Source(2000, b"{}")
    async with aclosing(read_items(kind(source))) as chunks:
        sizes = [len(chunk) async for chunk in chunks]
    assert sum(sizes) == 2000
    assert max(sizes) <= CHUNK_LINES


async def test_an_item_that_is_no_json_has_its_number_and_its_reason():
    chunks = [chunk async for chunk in read_items([b"{}", 7, {"x": object()}, "{}"])]
    lines = [line for chunk in chunks for line in chunk]
    assert [number for number, _ in lines] == [1, 2, 3, 4]
    assert [isinstance(text, InvalidJson) for _, text in lines] == [False, True, True, False]


def test_a_feed_holds_no_more_than_a_few_chunks(thread):
    source, feed = Source(200, {"text": "x" * LARGE}), Feed(thread)
    ahead = []

    async def take():
        taken = 0
        async for item in feed.items():
            assert isinstance(item, bytes)
            taken += 1
            ahead.append(source.drawn - taken)
        return taken

    taker = thread.start(take)
    feed.fill(source.plain(), taker)
    assert taker.result(timeout=10) == 200
    # Two that wait, one that is taken, one that is put and one that is gathered.
    assert max(ahead) * LARGE < 5 * (CHUNK_BYTES + LARGE)


def test_a_feed_leaves_what_is_no_json_to_the_taker(thread):
    feed = Feed(thread)

    async def take():
        return [line async for chunk in read_items(feed.items()) for line in chunk]

    taker = thread.start(take)
    feed.fill([{}, 7, {"x": object()}, "{}"], taker)
    lines = taker.result(timeout=10)
    assert [number for number, _ in lines] == [1, 2, 3, 4]
    assert [isinstance(text, InvalidJson) for _, text in lines] == [False, True, True, False]


def test_large_items_that_are_no_json_are_not_gathered(thread):
    source, feed = Source(40, {"text": "x" * LARGE, "x": object()}), Feed(thread)
    ahead = []

    async def take():
        taken = 0
        async for _ in feed.items():
            taken += 1
            ahead.append(source.drawn - taken)

    taker = thread.start(take)
    feed.fill(source.plain(), taker)
    taker.result(timeout=10)
    assert max(ahead) <= 5
