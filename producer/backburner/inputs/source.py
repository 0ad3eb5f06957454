"""What can be submitted, a file or an iterable, and the lines of either."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from pathlib import Path

from backburner.inputs.files import read_file
from backburner.inputs.items import Item, read_items
from backburner.inputs.line_blocks import Line

Source = Path | str | Iterable[Item] | AsyncIterable[Item]
"""What can be submitted; a `str` is a path."""


def read_lines(source: Source, *, max_bytes: int) -> AsyncGenerator[list[Line]]:
    """The source's lines in chunks, of a file without blank ones. See `read_file` and `read_items`."""
    if isinstance(source, (str, Path)):
        return read_file(Path(source), max_bytes=max_bytes)
    return read_items(source)
