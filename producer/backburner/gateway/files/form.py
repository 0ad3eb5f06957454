"""A form with one file in it, read as it comes: fields are kept, the file is passed on, whichever comes first."""

from collections.abc import AsyncIterator, Iterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from backburner_schemas.errors import CallRefused

FORM_BYTES = 64 * 1024
"""Bytes of a form beside its file: fields, heads of parts and boundaries."""
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 8 * 1024
_MAX_HEAD_BYTES = 4 * 1024
_MAX_NAME_CHARACTERS = 255
_MAX_PART_HEADERS = 8


class UploadForm:
    """One multipart form. `pieces` gives the file; `fields` and `filename` are whole once it has ended."""

    def __init__(self, content_type: str | None, file_field: str) -> None:
        """Raises `CallRefused` for what is no form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise CallRefused(
                "the body is no form; send multipart/form-data with a boundary, as the openai package does"
            )
        self._field = file_field
        self._name = bytearray()
        self._value = bytearray()
        self._disposition: bytes = b""
        self._part: str | None = None
        self._has_file = self._in_file = self._ended = False
        self._data: list[bytes] = []
        self._text = bytearray()
        self.fields: dict[str, str] = {}
        self.filename = ""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
                max_header_count=_MAX_PART_HEADERS,
                max_header_size=_MAX_HEAD_BYTES,
            )
        except FormParserError as error:
            raise _unreadable(error) from error

    async def pieces(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The file's bytes as they come. Raises `CallRefused` for a form that is broken, too long, or has no file."""
        async for data in body:
            if data:
                for piece in self._feed(data):
                    yield piece
        if not self._ended:
            raise CallRefused("the form breaks off; send it whole")
        if not self._has_file:
            raise CallRefused(f"the form has no field {self._field!r} with a file", param=self._field)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _unreadable(error) from error
        yield from self._data
        self._data.clear()

    # --- what the parser calls ---

    def _part_begin(self) -> None:
        self._disposition, self._part, self._in_file = b"", None, False
        self._text.clear()
        self._begin_header()

    def _begin_header(self) -> None:
        self._name.clear()
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name, value = bytes(self._name).lower(), bytes(self._value)
        self._begin_header()
        if name == b"content-disposition":
            self._disposition = value
        elif name == b"content-transfer-encoding" and value.strip().lower() not in {b"binary", b"8bit", b"7bit"}:
            raise CallRefused("a part of the form is encoded; send it as it is")

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise CallRefused("a part of the form has no name; send Content-Disposition: form-data; name=…")
        self._part = name
        if name != self._field:
            if len(self.fields) >= _MAX_FIELDS:
                raise CallRefused("the form has too many fields")
            if name in self.fields:
                raise CallRefused(f"the form has the field {name[:64]!r} twice; send it once", param=name[:64])
            return
        if self._has_file:
            raise CallRefused("the form has several files; send one a call", param=self._field)
        self._has_file = self._in_file = True
        self.filename = inert_name(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._data.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise CallRefused(f"the form's field {(self._part or '')[:64]!r} is too long")

    def _part_end(self) -> None:
        if not self._in_file and self._part is not None:
            self.fields[self._part] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def inert_name(name: str) -> str:
    """The last part of a file's name, without anything that a terminal, a header or a path could take as its own."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(one if one.isprintable() and one not in '"<>' else "_" for one in last)
    return kept.strip()[:_MAX_NAME_CHARACTERS].strip(". ") or "upload"


def _unreadable(error: Exception) -> CallRefused:
    return CallRefused(f"the form cannot be read: {str(error)[:200]}")
