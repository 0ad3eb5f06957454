"""Values that are read from files, and read again when a file has changed. For what rotates under a running process.

It starts no task and watches nothing: whoever uses the value asks for it each time, and a question costs one `stat` a
file. A Secret that Kubernetes mounts changes at once and whole, as a link; other tools write one file after the other,
so what cannot be read is no reason to give up what worked until now.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from backburner.logs import get_logger
from backburner_schemas.errors import SettingsError

T = TypeVar("T")
_Signature = tuple[tuple[int, int, int] | None, ...]

MAX_SECRET_BYTES = 64 * 1024
"""Of a password or a token; more is another file."""

log = get_logger(__name__)


class FromFiles(Generic[T]):
    """A value made of files, always the one of their present content."""

    def __init__(self, what: str, files: Sequence[str | Path], load: Callable[[], T]) -> None:
        """`what` is what the log calls it. Raises what `load` raises."""
        self._what = what
        self._files = [Path(file) for file in files]
        self._load = load
        self._seen = self._signature()
        self._refused: _Signature | None = None
        """Of files that could not be used, as that was logged."""
        self._value = load()

    def current(self) -> T:
        """The value as its files are now. While they cannot be used it is the last one that could; that is logged."""
        seen = self._signature()
        if seen == self._seen:
            return self._value
        try:
            self._value = self._load()
        except (OSError, ValueError, SettingsError) as error:
            # Tried again at each question: what kept it from being read, such as a mode or a full table of files, may
            # pass without a change that shows.
            if seen != self._refused:
                self._refused = seen
                log.warning(
                    "credentials changed and cannot be used; going on with those of before",
                    what=self._what,
                    error=str(error),
                )
        else:
            self._seen, self._refused = seen, None
            log.info("credentials read again; the next connection uses them", what=self._what)
        return self._value

    def _signature(self) -> _Signature:
        return tuple(map(_signature, self._files))


def _signature(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_secret(variable: str, file: str | Path) -> str:
    """The text in the file that the variable names, without the line's end. Raises `SettingsError`."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_SECRET_BYTES + 1)
        text = data.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise SettingsError(f"{variable} {file} cannot be read ({why}); name the file with the secret") from error
    if not text or len(data) > MAX_SECRET_BYTES:
        has = "is over 64 KiB" if text else "is empty"
        raise SettingsError(f"{variable} {file} {has}; name the file with the secret")
    return text
