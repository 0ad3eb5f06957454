"""A command's input as a file that can be read twice: what comes from stdin or a pipe, or is packed, is copied.

It reads as bytes come, before any event loop runs, so that Ctrl-C ends it at once.
"""

import gzip
import io
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner_schemas.errors import SettingsError

STDIN = "-"
_GZIP = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20
_BYTES_PER_MEGABYTE = 1_000_000
_MAX_COPY_BYTES = 64 * 1024**3
"""A thousand bytes of gzip can hold a megabyte. Larger inputs than this are files already."""
_MAX_PROMPT_BYTES = 64 * 1024**2


def read_prompt() -> str:
    """The text on stdin. Raises `SettingsError` where there is none that can be read."""
    stream = _stdin()
    if stream.isatty():
        show.say("reading the prompt from this terminal; Ctrl-D on a new line ends it")
    with Activity("waiting for the prompt on stdin"):
        data = stream.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise SettingsError(f"the prompt on stdin is over {_MAX_PROMPT_BYTES:,} bytes; pass a shorter one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"the prompt on stdin is no UTF-8 ({error.reason}); convert it, as with iconv") from error


@contextmanager
def readable_twice(file: Path) -> Iterator[Path]:
    """The file's path; where it is stdin (`-`), a pipe, or packed with gzip, that of a copy, which goes at the end.

    Raises `SettingsError` where it cannot be read, unpacked or copied. That a file is not there is left to its reader.
    """
    with ExitStack() as opened:
        if str(file) == STDIN:
            stream, name = _stdin(), "stdin"
            if stream.isatty():
                show.say("reading requests from this terminal, one JSON object a line; Ctrl-D on a new line ends them")
        elif file.is_dir():
            raise SettingsError(f"{file} is a folder; pass a file of requests")
        elif not file.exists():
            yield file
            return
        else:
            stream, name = opened.enter_context(file.open("rb")), str(file)
        with Activity(f"waiting for {name}") as activity:
            head = stream.read(len(_GZIP))
            if head != _GZIP and str(file) != STDIN and file.is_file():
                activity.close()
                yield file
                return
            whole: IO[bytes] = io.BufferedReader(_Rejoined(head, stream), _PIECE_BYTES)
            if head == _GZIP:
                whole = cast(IO[bytes], gzip.GzipFile(fileobj=whole))
            copy = opened.enter_context(_temporary())
            _copy(whole, copy, name, activity)
        yield Path(copy.name)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise SettingsError("stdin is closed; pass a file, or pipe the input in")
    return sys.stdin.buffer


@contextmanager
def _temporary() -> Iterator[IO[bytes]]:
    with _naming_folder():
        made = tempfile.NamedTemporaryFile(prefix="backburner-", suffix=".jsonl")  # noqa: SIM115 - closed below
    with made as copy:
        yield copy


def _copy(source: IO[bytes], copy: IO[bytes], name: str, activity: Activity) -> None:
    copied = 0
    while piece := _read(source, name):
        copied += len(piece)
        if copied > _MAX_COPY_BYTES:
            raise SettingsError(
                f"{name} holds over {_MAX_COPY_BYTES:,} bytes, more than is unpacked or copied; split it, or pass a "
                "file that is not packed"
            )
        with _naming_folder():
            copy.write(piece)
        activity.update(f"reading {name}: {copied // _BYTES_PER_MEGABYTE:,} MB")
    with _naming_folder():
        copy.flush()


def _read(source: IO[bytes], name: str) -> bytes:
    try:
        return source.read(_PIECE_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SettingsError(f"{name} cannot be unpacked ({error}); `gzip -t` says where it is damaged") from error
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {error.strerror or error}; pass a file") from error


@contextmanager
def _naming_folder() -> Iterator[None]:
    """Name the folder of temporary files: the system's own error says nothing of it."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"the input cannot be copied into {tempfile.gettempdir()}: {error.strerror or error}; free space there, or "
            "name another folder in TMPDIR"
        ) from error


class _Rejoined(io.RawIOBase):
    """A stream of which the beginning was read, with that beginning."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._head:
            piece, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            read = getattr(self._rest, "read1", self._rest.read)
            piece = read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
