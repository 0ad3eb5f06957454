"""Checks a batch file's bytes as they pass: text, lines, and what each line begins and ends with. Pure.

What a line holds is checked by whoever runs it: here a file of 200 MB must not cost more than its way into the store.
"""

import codecs

from backburner_schemas.errors import CallRefused

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_SHOWN_CHARACTERS = 60


class LinesCheck:
    """The check of one file. Memory holds one line at most."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line = max_line_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = bytearray()
        self._number = 0
        self.requests = 0
        """Lines so far that are not blank."""

    def take(self, data: bytes) -> None:
        """The next bytes. Raises `CallRefused`, which names the line."""
        self._decode(data, final=False)
        first, line_end, rest = data.partition(b"\n")
        self._rest += first
        if len(self._rest) > self._max_line + len(_BOM) + 1:
            raise self._refused(f"has more than {self._max_line:,} bytes; make the request smaller")
        if not line_end:
            return
        self._lines([bytes(self._rest)])
        *whole, last = rest.split(b"\n")
        self._lines(whole)
        self._rest = bytearray(last)

    def finish(self) -> None:
        """The file is over. Raises `CallRefused`, also for one without a request."""
        self._decode(b"", final=True)
        if self._rest:
            self._lines([bytes(self._rest)])
        if not self.requests:
            raise CallRefused("the file holds no request; write one JSON object a line", param="file")

    def _decode(self, data: bytes, *, final: bool) -> None:
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            line = self._number + 1 + data.count(b"\n", 0, error.start)
            raise CallRefused(
                f"the file is not UTF-8: {error.reason}, near line {line:,}; save it as UTF-8", param="file"
            ) from error

    def _lines(self, lines: list[bytes]) -> None:
        limit = self._max_line
        for line in lines:
            self._number += 1
            if line[:1] == b"{" and line[-1:] == b"}" and len(line) <= limit:
                self.requests += 1
                continue
            self._look_closely(line)

    def _look_closely(self, line: bytes) -> None:
        if self._number == 1:
            line = line.removeprefix(_BOM)
        line = line.strip(_BLANK)
        if not line:
            return
        if len(line) > self._max_line:
            self._number -= 1
            raise self._refused(f"has more than {self._max_line:,} bytes; make the request smaller")
        if line[:1] != b"{" or line[-1:] != b"}":
            self._number -= 1
            shown = line[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
            raise self._refused(f"is no JSON object: {shown!r}; write one JSON object a line, each in one line")
        self.requests += 1

    def _refused(self, what: str) -> CallRefused:
        return CallRefused(f"line {self._number + 1:,} of the file {what}", param="file")
