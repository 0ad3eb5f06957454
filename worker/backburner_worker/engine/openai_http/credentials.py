"""Bearer token and TLS files that change while the engine runs, as mounted secrets do. Each is read again when it has.

A file that cannot be read, as in the middle of a change, leaves in use what was read before. No token is shown.
"""

import os
import ssl
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.openai_http.options import (
    CA_FILE,
    CERT_FILE,
    KEY_FILE,
    TOKEN_FILE,
    OpenAiHttpOptions,
)

_LOOK_SECONDS = 1.0
"""Between two looks at the files: a look costs a few microseconds, and requests are many."""
_MAX_TOKEN_BYTES = 64 * 1024

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int], ...]


class _Watched(Generic[T]):
    """What is made from files, and made anew when one of them is another one."""

    def __init__(self, paths: tuple[str, ...], make: Callable[[], T]) -> None:
        self._paths = paths
        self._make = make
        self._stamp = self._look()
        self._made = make()
        self._looked = time.monotonic()

    def get(self) -> T:
        """What the files hold now, as of a second ago at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                if (stamp := self._look()) != self._stamp:
                    self._made = self._make()
                    # Only now: files that belong together are replaced one after the other.
                    self._stamp = stamp
            except (OSError, ValueError, SettingsError):
                pass
        return self._made

    def _look(self) -> _Stamp:
        found = [os.stat(path) for path in self._paths]  # noqa: PTH116 - it follows links, as secrets are mounted
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


class Credentials:
    """The token and the TLS context of calls."""

    def __init__(self, options: OpenAiHttpOptions) -> None:
        """Reads all files. Raises `SettingsError`, which names the setting of the one that is of no use."""
        self._options = options
        self._token = _watched((options.token_file,), self._read_token) if options.token_file else None
        tls = tuple(filter(None, (options.ca_file, options.cert_file, options.key_file)))
        secure = any(url.startswith("https:") for url in options.urls)
        self._tls = _watched(tls, self._make_context) if tls or secure else None

    def token(self) -> str:
        """The bearer token that says who calls, as of now; empty where there is none."""
        return self._token.get() if self._token is not None else ""

    def tls(self) -> ssl.SSLContext | None:
        """The context for new connections; None where no server has TLS."""
        return self._tls.get() if self._tls is not None else None

    def _read_token(self) -> str:
        path = self._options.token_file
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - bounded, unlike Path.read_bytes
                held = file.read(_MAX_TOKEN_BYTES + 1)
            token = held.decode("ascii").strip()
        except OSError as error:
            raise SettingsError(f"{TOKEN_FILE}: {path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError:
            token = ""
        if not token or len(held) > _MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
            raise SettingsError(f"{TOKEN_FILE}: {path} holds no token; write the token alone into it")
        return token

    def _make_context(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.ca_file or None)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{CA_FILE}: {options.ca_file} holds no certificates in PEM form ({error}); name a file that does"
            ) from error
        if options.cert_file:
            try:
                # A key that asks for a pass phrase would ask the terminal.
                context.load_cert_chain(options.cert_file, options.key_file or None, password="")
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"{CERT_FILE} and {KEY_FILE}: no certificate with its key, both in PEM form and without a pass "
                    f"phrase ({error}); name files that hold them"
                ) from error
        return context


def _watched(paths: tuple[str, ...], make: Callable[[], T]) -> _Watched[T]:
    try:
        return _Watched(paths, make)
    except OSError as error:
        raise SettingsError(
            f"a file of {TOKEN_FILE}, {CA_FILE}, {CERT_FILE} or {KEY_FILE} cannot be read: {error}; check its path"
        ) from error
