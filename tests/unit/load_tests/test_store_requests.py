"""The counter of what a part asks the store for."""

from backburner.settings import Settings
from backburner.storage import Storage
from measuring.store_requests import counted_requests


async def test_every_read_and_every_page_of_a_listing_counts():
    storage = Storage.open(Settings.load(store_url="memory:///load", queue_url="kafka://127.0.0.1:9"))
    for number in range(1500):
        await storage.put(f"some/{number:05}", b"1")
    with counted_requests() as count:
        await storage.get("some/00001")
        await storage.modified("some/00002")
        assert len([listed async for listed in storage.scan("some/")]) == 1500
        await storage.put("other", b"1")
    await storage.get("some/00003")
    assert (count.reads, count.lists) == (2, 2)
    for number in range(1500):
        await storage.put(f"folders/{number:05}/one", b"1")
    with counted_requests() as count:
        assert len(await storage.folders("folders/")) == 1500
    assert (count.reads, count.lists) == (0, 2)
