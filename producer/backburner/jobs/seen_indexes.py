"""Which indexes of a job were seen already, in little memory however they are spread. Pure."""

from array import array
from collections.abc import Iterator

from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet

_PAGE_INDEX_COUNT = 1 << 12
_SPARSE_COUNT = 64
"""Members up to which a page is a list of them: a bit for each place of it would take more by then."""
_MAX_PAGES_COUNT = 1 << 17
"""Of a job of half a billion requests. Beyond that its records are scattered over numbers that no job has."""


class SeenIndexes:
    """A set of numbers, kept in pages that are made when a number falls into them, and of the strings of streams."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int] | bytearray] = {}
        self._names: set[str] = set()

    def add(self, index: int | str) -> bool:
        """Add the index. Returns whether it is new. Raises `StoredObjectBroken` where they are of no job."""
        if isinstance(index, str):
            if index in self._names:
                return False
            self._names.add(index)
            return True
        number, within = divmod(index, _PAGE_INDEX_COUNT)
        page = self._page(number)
        if _has_any(page, within, within + 1):
            return False
        self._pages[number] = _with(page, within, within + 1)
        return True

    def add_all(self, indexes: IndexSet) -> bool:
        """Add the indexes if all of them are new. Returns whether they were. Raises `StoredObjectBroken` as `add`."""
        places = [place for start, stop in indexes.ranges for place in _places(start, stop)]
        if any(number in self._pages and _has_any(self._pages[number], first, last) for number, first, last in places):
            return False
        for number, first, last in places:
            self._pages[number] = _with(self._page(number), first, last)
        return True

    def _page(self, number: int) -> "array[int] | bytearray":
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= _MAX_PAGES_COUNT:
                raise StoredObjectBroken(
                    "the job's segments have records of numbers that lie further apart than those of any job; "
                    "find out what wrote them"
                )
            page = self._pages[number] = array("H")
        return page


def _places(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Where a range is: of each page its number, and the range within it."""
    while start < stop:
        number, within = divmod(start, _PAGE_INDEX_COUNT)
        length = min(stop - start, _PAGE_INDEX_COUNT - within)
        yield number, within, within + length
        start += length


def _has_any(page: "array[int] | bytearray", first: int, last: int) -> bool:
    if isinstance(page, bytearray):
        part = page[first >> 3 : (last + 7) >> 3]
        return bool(int.from_bytes(part, "little") & _bits(first, last))
    return any(first <= member < last for member in page)


def _with(page: "array[int] | bytearray", first: int, last: int) -> "array[int] | bytearray":
    """The page with the range as well: itself, or a bit for each of its places once it has many members."""
    if not isinstance(page, bytearray):
        if len(page) + last - first <= _SPARSE_COUNT:
            page.extend(range(first, last))
            return page
        members, page = page, bytearray(_PAGE_INDEX_COUNT // 8)
        for member in members:
            page[member >> 3] |= 1 << (member & 7)
    where = slice(first >> 3, (last + 7) >> 3)
    bits = int.from_bytes(page[where], "little") | _bits(first, last)
    page[where] = bits.to_bytes(where.stop - where.start, "little")
    return page


def _bits(first: int, last: int) -> int:
    """The range's bits, counted from the byte in which it begins."""
    return ((1 << (last - first)) - 1) << (first & 7)
