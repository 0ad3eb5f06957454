"""Temporary files, for what is too large for the memory: where they cannot be written, the error names the folder."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

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


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "any of the usual folders"
