"""Counts what a part asks the store for, at the store's own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import obstore

_PAGE_COUNT = 1000
"""Keys and folders in one answer of a store."""


@dataclass(slots=True)
class StoreRequests:
    """Requests so far."""

    lists: int = 0
    """LISTs; each returns up to a thousand keys or folders."""
    reads: int = 0
    """GETs and HEADs of one object."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.lists + self.reads


@contextmanager
def counted_requests() -> Iterator[StoreRequests]:
    """The requests that this process makes in the block: a page of a listing is one, the last one too."""
    count = StoreRequests()
    plain_list, plain_folders = obstore.list, obstore.list_with_delimiter_async

    def pages(*arguments: Any, **options: Any) -> Any:
        found = plain_list(*arguments, **options)

        async def each() -> Any:
            count.lists += 1
            async for page in found:
                yield page
                count.lists += len(page) >= options["chunk_size"]

        return each()

    async def folders(*arguments: Any, **options: Any) -> Any:
        found = await plain_folders(*arguments, **options)
        count.lists += 1 + (len(found["common_prefixes"]) + len(found["objects"])) // _PAGE_COUNT
        return found

    def reading(plain: Any) -> Any:
        async def read(*arguments: Any, **options: Any) -> Any:
            count.reads += 1
            return await plain(*arguments, **options)

        return read

    with (
        patch.object(obstore, "list", pages),
        patch.object(obstore, "list_with_delimiter_async", folders),
        patch.object(obstore, "get_async", reading(obstore.get_async)),
        patch.object(obstore, "get_range_async", reading(obstore.get_range_async)),
        patch.object(obstore, "head_async", reading(obstore.head_async)),
    ):
        yield count
