"""What can be submitted, a file or an iterable, and the lines of either."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from pathlib import Path

from backburner.inputs.files import read_file
from backburner.inputs.findings import InvalidInput
from backburner.inputs.items import Item, read_items
from backburner.inputs.line_blocks import Line
from backburner_schemas.request import BatchRequest

Source = Path | str | Iterable[Item] | AsyncIterable[Item]
"""What can be submitted; a `str` is a path."""


def check_source(source: object) -> None:
    """Raise `InvalidInput` for what is no input, though some of it can be iterated over.

    A DataFrame yields the names of its columns, a request the names of its fields, bytes numbers.
    """
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__"):
        raise InvalidInput(
            f"a {type(source).__name__} holds rows and no requests; backburner.frames.to_requests(rows, prompt) makes "
            "requests of them"
        )
    if isinstance(source, (Mapping, BatchRequest)):
        raise InvalidInput("a single request is no input of a job; pass it in a list, or call enqueue")
    if isinstance(source, bytes) or not isinstance(source, (Iterable, AsyncIterable)):
        raise InvalidInput(
            f"the input is of the type {type(source).__name__}; pass the path of a JSONL file, or the requests "
            "themselves as a list or another iterable"
        )


def read_lines(source: Source, *, max_bytes: int) -> AsyncGenerator[list[Line]]:
    """The source's lines in chunks, of a file without blank ones. See `read_file` and `read_items`."""
    if isinstance(source, (str, Path)):
        return read_file(Path(source), max_bytes=max_bytes)
    return read_items(source)
