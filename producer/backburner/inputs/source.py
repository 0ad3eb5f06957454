"""What can be submitted, a file or an iterable, and the lines of either."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from pathlib import Path

from backburner.inputs.files import read_file
from backburner.inputs.findings import InvalidInput
from backburner.inputs.items import Item, read_items
from backburner.inputs.line_blocks import Line

Source = Path | str | Iterable[Item] | AsyncIterable[Item]
"""What can be submitted; a `str` is a path."""


def check_no_frame(source: object) -> None:
    """Raise `InvalidInput` for a DataFrame: what it iterates over are its columns' names."""
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__"):
        raise InvalidInput(
            f"a {type(source).__name__} holds rows and no requests; backburner.frames.to_requests(rows, prompt) makes "
            "requests of them"
        )


def read_lines(source: Source, *, max_bytes: int) -> AsyncGenerator[list[Line]]:
    """The source's lines in chunks, of a file without blank ones. See `read_file` and `read_items`."""
    if isinstance(source, (str, Path)):
        return read_file(Path(source), max_bytes=max_bytes)
    return read_items(source)
