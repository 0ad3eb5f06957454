"""Where records go: stdout, or a file that appears whole or not at all."""

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backburner.cli.terminal import show
from backburner_schemas.errors import SettingsError

Write = Callable[[bytes], None]
"""Takes one record without its line end."""


STDOUT = "-"
_OPEN_FILES = re.compile(r"/proc/\d+/(?:task/\d+/)?fd|/dev/fd")
_MAX_LINKS = 40
"""As Linux itself follows."""


def is_stdout(path: Path | None) -> bool:
    """Whether records for this path go to stdout: `-`, and what else names stdout's own file, such as /dev/stdout."""
    if path is None or str(path) == STDOUT:
        return path is not None
    try:
        return sys.stdout is not None and os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # Not there, or nothing that has a number.
        return False


def check_output(path: Path | None) -> None:
    """Raise `SettingsError` if the file could not be created, so that nobody waits hours to learn it."""
    if path is None or is_stdout(path):
        return
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; pass the path of a file to -o")
    target = _target(path)
    if not target.absolute().parent.is_dir():
        raise SettingsError(f"there is no folder {target.parent}; create it, or pass another path to -o")


@contextmanager
def records_to(path: Path | None) -> Iterator[Write]:
    """A function that writes a record. A file is written beside its place and moved there at the end of the block.

    An exception in the block leaves an older file as it was. A link stays one: what it leads to is written.
    """
    check_output(path)
    if path is None or is_stdout(path):
        yield show.out_bytes
        return
    target = _target(path)
    if target.is_symlink() or (target.exists() and not target.is_file()):
        # An open file, a device or a pipe cannot be replaced.
        with _naming(path):
            stream = target.open("wb")
        with _written(stream, path) as write:
            yield write
        return
    # A name of its own, made here or not used: another run may write the same file, or a user have one of that name.
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    with _naming(path):
        stream = part.open("xb")
    try:
        with _written(stream, path) as write:
            yield write
        with _naming(path):
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The file that the path leads to, link by link; a file that a process has open by its number, as it stands there.

    Raises `SettingsError` for links in a circle.
    """
    place = path
    for _ in range(_MAX_LINKS):
        place = place.parent.resolve() / place.name
        if not place.is_symlink() or _OPEN_FILES.fullmatch(str(place.parent)):
            return place
        place = place.parent / place.readlink()
    raise SettingsError(f"{path} leads in a circle; pass another path to -o")


@contextmanager
def _written(stream: BinaryIO, path: Path) -> Iterator[Write]:
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
        raise show.OutputFailed(f"{path} cannot be written to: {error.strerror}; pass another path to -o") from error
