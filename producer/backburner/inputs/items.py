"""Reads the items of an iterable as lines, in chunks. It checks nothing."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from backburner.inputs.line_blocks import BOM, Line, is_blank
from backburner_schemas.errors import BackburnerError, InvalidJson
from backburner_schemas.request import BatchRequest

Item = BatchRequest | Mapping[str, Any] | str | bytes
"""What an iterable may yield: a request, a dict in the form of a batch line, or the line as JSON."""
_Text = bytes | BackburnerError

CHUNK_LINES = 512
CHUNK_BYTES = 1 << 20
"""A chunk ends with the line that takes it to this size, so it is larger by less than one line."""
_CHUNK_SECONDS = 0.05
"""A slow iterable's items are sent after this time, without waiting for a whole chunk."""

_MAX_DEPTH_COUNT = 100
"""Objects and lists within each other in which a value that cannot be written is looked for."""


class Filling:
    """How far a chunk of items is filled: their number, their bytes and the time since the first was asked for."""

    def __init__(self) -> None:
        self._lines = 0
        self._bytes = 0
        self._started = time.monotonic()

    def add(self, text: bytes | BackburnerError) -> None:
        """Count one item, as `as_json` returned it."""
        self._lines += 1
        self._bytes += len(text) if isinstance(text, bytes) else 0

    @property
    def full(self) -> bool:
        """Whether the chunk is full."""
        return self._lines >= CHUNK_LINES or self._bytes >= CHUNK_BYTES

    @property
    def due(self) -> bool:
        """Whether the chunk is to be handed on: it is full, or has been filled for long enough."""
        return self.full or time.monotonic() - self._started > _CHUNK_SECONDS


async def read_items(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[list[Line]]:
    """The iterable's items as lines, in chunks. What the iterable raises goes through.

    Each item is written as JSON when it is read, and a chunk ends where one of a file would, so that large items do
    not accumulate. One that cannot be written as JSON is dropped, and leaves the reason.

    Blank lines are passed over, and a byte order mark before the first one, as in a file: a file object is an iterable.
    Numbers count all items.

    A plain iterable runs in the event loop's thread: one that blocks for long should be an async one.
    """
    chunks = _of_async(items) if isinstance(items, AsyncIterable) else _of_plain(items)
    number = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            if not number and isinstance(chunk[0], bytes):
                chunk[0] = chunk[0].removeprefix(BOM)
            lines = [line for line in enumerate(chunk, number + 1) if not is_blank(line[1])]
            number += len(chunk)
            if lines:
                yield lines


async def _of_plain(items: Iterable[Item]) -> AsyncGenerator[list[_Text]]:
    chunk: list[_Text] = []
    filling = Filling()
    for item in items:
        chunk.append(text := as_json(item))
        filling.add(text)
        if filling.due:
            yield chunk
            await asyncio.sleep(0)
            chunk, filling = [], Filling()
    if chunk:
        yield chunk


async def _of_async(items: AsyncIterable[Item]) -> AsyncGenerator[list[_Text]]:
    """Whatever the iterable has yielded since the last chunk, so that a trickle is sent as it comes."""
    waiting: list[_Text] = []
    filling = Filling()
    changed = asyncio.Event()
    room = asyncio.Event()

    async def pump() -> None:
        async for item in items:
            # Whatever list and counts are current: the loop below puts new ones in their place.
            waiting.append(text := as_json(item))
            filling.add(text)
            changed.set()
            if filling.full:
                room.clear()
                await room.wait()

    task = asyncio.create_task(pump())
    task.add_done_callback(lambda _: changed.set())
    try:
        while not (task.done() and not waiting):
            await changed.wait()
            changed.clear()
            # One turn of the loop, in which an iterable that need not wait yields more.
            await asyncio.sleep(0)
            if waiting:
                chunk, waiting, filling = waiting, [], Filling()
                room.set()
                yield chunk
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


def as_json(item: object) -> bytes | BackburnerError:
    """The item as one line of JSON, or why it cannot be one."""
    if isinstance(item, bytes):
        return item
    # As a file's NaN, it is refused where the line is read: null would change what was asked.
    try:
        if isinstance(item, str):
            return item.encode()
        if isinstance(item, BatchRequest):
            return json_of(item.model_dump(mode="python"))
        if isinstance(item, Mapping):
            return json_of(dict(item))
    except InvalidJson as error:
        return error
    except ValueError as error:
        return InvalidJson(f"the item cannot be written as JSON: {error}")
    return InvalidJson(f"an item is a dict, a BatchRequest or a line of JSON, not {type(item).__name__}")


def json_of(value: object) -> bytes:
    """The value as JSON. Raises `InvalidJson` that names what cannot be written, and where it is."""
    try:
        return _written(value)
    except (PydanticSerializationError, ValueError) as error:
        place = next(_unwritable(value, "", _MAX_DEPTH_COUNT), None)
        if place is None:
            raise InvalidJson(f"this cannot be written as JSON: {error}") from error
        where, kind = place
        raise InvalidJson(
            f"{where or 'the value'} is of the type {kind}, which JSON has no form for; pass a text, a number, a list "
            "or a dict",
            param=where or None,
        ) from error


def _written(value: object) -> bytes:
    # NaN is kept, for the check to refuse: null would change what was asked.
    return to_json(value, inf_nan_mode="constants", fallback=_as_python)


def _as_python(value: Any) -> Any:
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _unwritable(value: object, where: str, depth: int) -> Iterator[tuple[str, str]]:
    """The places of values that cannot be written, and their types."""
    if depth and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _unwritable(item, f"{where}.{name}" if where else str(name), depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _unwritable(item, f"{where}[{number}]", depth - 1)
    else:
        try:
            _written(value)
        except (PydanticSerializationError, ValueError):
            yield where, type(value).__name__
