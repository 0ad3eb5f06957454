"""Where records go: stdout, or a file that appears whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backburner.cli.terminal import show
from backburner_schemas.errors import SettingsError

Write = Callable[[bytes], None]
"""Takes one record without its line end."""


def check_output(path: Path | None) -> None:
    """Raise `SettingsError` if the file could not be created, so that nobody waits hours to learn it."""
    if path is None:
        return
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; pass the path of a file to -o")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"there is no folder {path.parent}; create it, or pass another path to -o")


@contextmanager
def records_to(path: Path | None) -> Iterator[Write]:
    """A function that writes a record. A file is written beside its place and moved there at the end of the block.

    An exception in the block leaves an older file as it was.
    """
    check_output(path)
    if path is None:
        yield show.out_bytes
        return
    if path.exists() and not path.is_file():
        # A device or a pipe cannot be replaced.
        with _written(path, path) as write:
            yield write
        return
    part = path.with_name(path.name + ".part")
    try:
        with _written(part, path) as write:
            yield write
        with _naming(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _written(place: Path, path: Path) -> Iterator[Write]:
    with _naming(path):
        stream = place.open("wb")

    def write(record: bytes) -> None:
        with _naming(path):
            stream.writelines((record, b"\n"))

    try:
        yield write
    finally:
        # Writes what is still buffered, so it can fail as a write does.
        with _naming(path):
            stream.close()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the user's path in errors: not every error of the system has one."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path} cannot be written to: {error.strerror}; pass another path to -o") from error
