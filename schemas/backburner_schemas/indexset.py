"""Sets of indexes as text: `0-511,514`. Digests of segments and summaries of jobs are made of them. Pure.

Indexes of streams are strings, a request's place on the queue: `3-1207` for offset 1207 of partition 3. Those that
differ only in the number at their end are packed as ranges of it, `3-:1207-4096,4099`, so that a segment full of them
is short. What ends in no number, like an SQS message's id, stands for itself.
"""

import re
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from heapq import merge
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_RANGE = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")
_UNSIGNED_64_BITS = "Q"
_NUMBERED = re.compile(r"([A-Za-z0-9._-]*-)(0|[1-9][0-9]{0,14})")
_MAX_NAME_CHARACTERS = 64
_MAX_SHOWN_CHARACTERS = 40
"""Of what is wrong, in an error."""
MAX_NAMES_BYTES = 64 * 1024
"""Of one segment's packed string indexes: 1,600 ids of SQS messages, or the offsets of any segment."""
_ENTRY_BYTES = len('"",')
"""Of JSON, beside an entry's own."""
_SEPARATOR = ":"
"""No index has it."""


class IndexSet:
    """An immutable set of integers from 0, below 2^64, held as sorted ranges that neither touch nor overlap.

    Its size in memory is that of its ranges, 16 bytes each, so a whole job of any length costs one pair of numbers.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Take half-open ranges `(start, stop)` in any order; they may overlap. Raises `ValueError` for others."""
        self._starts, self._stops = _merged(sorted(ranges))

    @classmethod
    def of(cls, indexes: Iterable[int]) -> "IndexSet":
        """The set of these indexes."""
        return cls((index, index + 1) for index in indexes)

    @classmethod
    def parse(cls, text: str) -> "IndexSet":
        """The set that `str` wrote. Raises `ValueError` for anything else."""
        made = cls()
        made._starts, made._stops = _merged(_ranges(text))
        return made

    def __str__(self) -> str:
        return ",".join(f"{start}-{stop - 1}" if stop - start > 1 else f"{start}" for start, stop in self._pairs())

    def __repr__(self) -> str:
        return f"IndexSet.parse({str(self)!r})"

    def __len__(self) -> int:
        return sum(self._stops) - sum(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self._pairs():
            yield from range(start, stop)

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._starts, index)
        return at > 0 and index < self._stops[at - 1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSet) and self._starts == other._starts and self._stops == other._stops

    def __hash__(self) -> int:
        return hash((self._starts.tobytes(), self._stops.tobytes()))

    def __or__(self, other: "IndexSet") -> "IndexSet":
        return IndexSet.union((self, other))

    def __sub__(self, other: "IndexSet") -> "IndexSet":
        left, at = IndexSet(), 0
        for first, stop in self._pairs():
            start = first
            # Looked up and not walked to: a few are often held against very many.
            at = bisect_right(other._stops, start, at)
            while at < len(other._starts) and other._starts[at] < stop:
                if start < other._starts[at]:
                    left._append(start, other._starts[at])
                start = other._stops[at]
                if start >= stop:
                    break
                at += 1
            if start < stop:
                left._append(start, stop)
        return left

    def __and__(self, other: "IndexSet") -> "IndexSet":
        few, many = (self, other) if self.range_count <= other.range_count else (other, self)
        shared, at = IndexSet(), 0
        for start, stop in few._pairs():
            at = bisect_right(many._stops, start, at)
            while at < len(many._starts) and many._starts[at] < stop:
                shared._append(max(start, many._starts[at]), min(stop, many._stops[at]))
                if many._stops[at] >= stop:
                    break
                at += 1
        return shared

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The half-open ranges, sorted."""
        return tuple(self._pairs())

    @property
    def range_count(self) -> int:
        """How many ranges there are: what the set takes in memory."""
        return len(self._starts)

    @property
    def stop(self) -> int:
        """One more than the largest index; 0 if there is none."""
        return self._stops[-1] if self._stops else 0

    @classmethod
    def union(cls, sets: Iterable["IndexSet"]) -> "IndexSet":
        """All of them together, in one pass."""
        made = cls()
        made._starts, made._stops = _merged(merge(*map(cls._pairs, sets)))
        return made

    @classmethod
    def below(cls, total: int) -> "IndexSet":
        """Every index from 0 up to, and without, `total`."""
        return cls([(0, total)] if total > 0 else ())

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def _append(self, start: int, stop: int) -> None:
        """Add a range behind all others, while the set is being made."""
        self._starts.append(start)
        self._stops.append(stop)

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


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """The half-open ranges of a text, each as it is read: a list of them would take fifty times the bytes."""
    at, reached = 0, 0
    while text:
        found = _RANGE.match(text, at)
        if found is None or text[found.end() : found.end() + 1] not in {"", ","}:
            raise ValueError(f"not a range of indexes: {_shown(text, at)}")
        start, last = int(found[1]), int(found[2] or found[1])
        if last < start or start < reached:
            raise ValueError(f"a range that runs backwards: {_shown(text, at)}")
        yield start, last + 1
        if found.end() == len(text):
            return
        at, reached = found.end() + 1, start


def _shown(text: str, at: int) -> str:
    return repr(text[at : at + _MAX_SHOWN_CHARACTERS].partition(",")[0])


def _merged(ranges: Iterable[tuple[int, int]]) -> "tuple[array[int], array[int]]":
    """Sorted ranges as those that neither touch nor overlap: where they start, and where they stop."""
    starts, stops = array(_UNSIGNED_64_BITS), array(_UNSIGNED_64_BITS)
    try:
        for start, stop in ranges:
            if stop <= start:
                continue
            if stops and start <= stops[-1]:
                stops[-1] = max(stops[-1], stop)
                continue
            starts.append(start)
            stops.append(stop)
    except OverflowError as error:
        raise ValueError(f"no index is below 0, or has more than 64 bits: {start} to {stop}") from error
    return starts, stops


# --- string indexes ---


def pack_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as packed entries, as many as fit into `MAX_NAMES_BYTES` of JSON: no other than these are in there."""
    numbers, packed = defaultdict[str, list[int]](list), list[str]()
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            numbers[found[1]].append(int(found[2]))
        else:
            packed.append(name)
    packed += (f"{prefix}{_SEPARATOR}{IndexSet.of(found)}" for prefix, found in numbers.items())
    return tuple(_fitting(packed))


def _fitting(packed: Iterable[str]) -> Iterator[str]:
    room = MAX_NAMES_BYTES
    for entry in packed:
        size = len(entry) + _ENTRY_BYTES
        if size <= room:
            room -= size
            yield entry


class NamedIndexes:
    """A set of string indexes, of packed entries. It never changes."""

    def __init__(self, packed: Iterable[str], max_count: int) -> None:
        """`max_count`: names and separate ranges from which on no further entry is looked at.

        What is no entry is passed over, and so is what has no room in `MAX_NAMES_BYTES`.
        """
        names, numbers, count = set[str](), defaultdict[str, list[tuple[int, int]]](list), 0
        for entry in _fitting(packed):
            if count >= max_count:
                break
            prefix, separator, text = entry.partition(_SEPARATOR)
            if len(prefix) > _MAX_NAME_CHARACTERS:
                continue
            if not separator:
                names.add(entry)
                count += 1
                continue
            with suppress(ValueError):
                found = IndexSet.parse(text).ranges
                numbers[prefix] += found
                count += len(found)
        self._names = names
        self._ranges = {prefix: IndexSet(found) for prefix, found in numbers.items()}

    def __contains__(self, name: str) -> bool:
        """Whether it is in there."""
        found = _NUMBERED.fullmatch(name)
        if found is None:
            return name in self._names
        numbers = self._ranges.get(found[1])
        return numbers is not None and int(found[2]) in numbers

    @property
    def count(self) -> int:
        """Names and separate ranges."""
        return len(self._names) + sum(numbers.range_count for numbers in self._ranges.values())
