"""What the head of a call must look like, before anything else of it is read. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from backburner.gateway.loopback import is_loopback
from backburner_schemas.errors import CallRefused, EncodingRefused

Header = tuple[bytes, bytes]
_VERSIONS = frozenset({"1.0", "1.1"})


class Head:
    """The headers of one call."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._headers: list[Header] = scope["headers"]
        self._version: str = scope["http_version"]

    def check(self) -> None:
        """Raise `CallRefused` for what two servers could understand in two ways, `EncodingRefused` for compression."""
        if self._version not in _VERSIONS:
            raise CallRefused("this version of HTTP is not spoken here; use HTTP/1.1")
        lengths, codings = self.all(b"content-length"), self.all(b"transfer-encoding")
        if len(lengths) > 1 or (lengths and codings):
            raise CallRefused("the call has its length twice; send one Content-Length, or chunks")
        if lengths and not lengths[0].isdigit():
            raise CallRefused("Content-Length is no number; send the body's bytes")
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            raise CallRefused("Transfer-Encoding is not understood; send chunks, or a Content-Length")
        if any(coding.lower() != b"identity" for coding in self.all(b"content-encoding")):
            raise EncodingRefused
        if len(self.all(b"host")) > 1:
            raise CallRefused("the call names several hosts; send one Host")
        if len(self.all(b"authorization")) > 1:
            raise CallRefused("the call names several callers; send one Authorization")

    def check_local(self) -> None:
        """Raise `CallRefused` where a web page of somebody else's may be behind the call.

        For callers without a key: a browser on this machine reaches what listens on loopback, whichever page it shows.
        """
        host = self.text(b"host") or ""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name) or self.all(b"origin"):
            raise CallRefused("web pages may not call without a key; make one with `backburner keys create`")

    def all(self, name: bytes) -> list[bytes]:
        """The values under that name, which is in lower case."""
        return [value.strip() for found, value in self._headers if found == name]

    def text(self, name: bytes) -> str | None:
        """The first value under that name, or None."""
        found = self.all(name)
        return found[0].decode("latin-1") if found else None

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where the caller says so."""
        found = self.all(b"content-length")
        return int(found[0]) if found and found[0].isdigit() else None
