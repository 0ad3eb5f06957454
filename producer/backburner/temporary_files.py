"""Temporary files, for what is too large for the memory: where they cannot be written, the error names the folder."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from backburner_schemas.errors import TemporaryFilesError


@contextmanager
def temporary_files() -> Iterator[None]:
    """Only temporary files are used within the block. Raises `TemporaryFilesError` if one of them cannot be."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise TemporaryFilesError(
            f"temporary files cannot be written in {_folder()} ({reason}); make room there, or set TMPDIR to a folder "
            "that has some"
        ) from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that goes with the block. Raises `TemporaryFilesError` if none can be made."""
    with ExitStack() as stack:
        with temporary_files():
            folder = stack.enter_context(TemporaryDirectory(prefix="backburner-"))
        yield Path(folder)


@contextmanager
def temporary_lines(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that writes a line into that temporary file. Both raise `TemporaryFilesError`."""
    with temporary_files():
        file = path.open("wb")

    def write(line: bytes) -> None:
        with temporary_files():
            file.writelines((line, b"\n"))

    try:
        yield write
    finally:
        # Writes what is still buffered, so it can fail as a write does.
        with temporary_files():
            file.close()


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "any of the usual folders"
