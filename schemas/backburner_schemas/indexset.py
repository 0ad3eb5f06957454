"""Sets of indexes as text: `0-511,514`. Digests of segments and summaries of jobs are made of them. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_RANGE = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")


class IndexSet:
    """An immutable set of integers from 0, held as sorted ranges that neither touch nor overlap.

    Its size in memory is that of its ranges, so a whole job of any length costs one pair of numbers.
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Take half-open ranges `(start, stop)` in any order; they may overlap."""
        self._ranges = tuple(_merged(sorted(ranges)))

    @classmethod
    def of(cls, indexes: Iterable[int]) -> "IndexSet":
        """The set of these indexes."""
        return cls((index, index + 1) for index in indexes)

    @classmethod
    def parse(cls, text: str) -> "IndexSet":
        """The set that `str` wrote. Raises `ValueError` for anything else."""
        ranges = []
        for part in text.split(",") if text else ():
            found = _RANGE.fullmatch(part)
            if found is None:
                raise ValueError(f"not a range of indexes: {part!r}")
            start, last = int(found[1]), int(found[2] or found[1])
            if last < start:
                raise ValueError(f"a range that runs backwards: {part!r}")
            ranges.append((start, last + 1))
        return cls(ranges)

    def __str__(self) -> str:
        return ",".join(f"{start}-{stop - 1}" if stop - start > 1 else f"{start}" for start, stop in self._ranges)

    def __repr__(self) -> str:
        return f"IndexSet.parse({str(self)!r})"

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self._ranges:
            yield from range(start, stop)

    def __contains__(self, index: int) -> bool:
        low, high = 0, len(self._ranges)
        while low < high:
            middle = (low + high) // 2
            if self._ranges[middle][0] <= index:
                low = middle + 1
            else:
                high = middle
        return low > 0 and index < self._ranges[low - 1][1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSet) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __or__(self, other: "IndexSet") -> "IndexSet":
        return IndexSet((*self._ranges, *other._ranges))

    def __sub__(self, other: "IndexSet") -> "IndexSet":
        return self & other._inverted()

    def __and__(self, other: "IndexSet") -> "IndexSet":
        mine, theirs, shared = list(self._ranges), list(other._ranges), []
        left = right = 0
        while left < len(mine) and right < len(theirs):
            start = max(mine[left][0], theirs[right][0])
            stop = min(mine[left][1], theirs[right][1])
            if start < stop:
                shared.append((start, stop))
            if mine[left][1] < theirs[right][1]:
                left += 1
            else:
                right += 1
        return IndexSet(shared)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The half-open ranges, sorted."""
        return self._ranges

    @property
    def stop(self) -> int:
        """One more than the largest index; 0 if there is none."""
        return self._ranges[-1][1] if self._ranges else 0

    @classmethod
    def union(cls, sets: Iterable["IndexSet"]) -> "IndexSet":
        """All of them together, in one pass."""
        return cls(bounds for one in sets for bounds in one.ranges)

    @classmethod
    def below(cls, total: int) -> "IndexSet":
        """Every index from 0 up to, and without, `total`."""
        return cls([(0, total)] if total > 0 else ())

    def _inverted(self) -> "IndexSet":
        gaps, start = [], 0
        for first, stop in self._ranges:
            if start < first:
                gaps.append((start, first))
            start = stop
        return IndexSet([*gaps, (start, 1 << 64)])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """On the wire it is its text."""
        return core_schema.no_info_plain_validator_function(
            cls._taken, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _taken(cls, value: object) -> "IndexSet":
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("must be ranges of indexes as text, such as 0-511,514")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$", "examples": ["0-511,514"]}


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    current: tuple[int, int] | None = None
    for start, stop in ranges:
        if stop <= start:
            continue
        if current is not None and start <= current[1]:
            current = (current[0], max(current[1], stop))
            continue
        if current is not None:
            yield current
        current = (start, stop)
    if current is not None:
        yield current
