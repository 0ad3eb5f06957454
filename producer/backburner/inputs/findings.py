"""What was found wrong with an input: lines that cannot be accepted, and the error that carries them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from backburner_schemas import errors
from backburner_schemas.errors import BackburnerError

MAX_KEPT_FINDINGS = 100
"""Findings that an error keeps; a file of a million bad lines must not fill the memory."""
MAX_KEPT_SKIPPED_LINES = 10_000
"""Skipped lines that a job keeps for the caller's report."""


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line, or item, of the input that cannot be accepted."""

    line: int
    """Counted from 1."""
    custom_id: str | None
    """The line's own, where it could be read."""
    code: str
    """The stable code of what is wrong, such as `duplicate_custom_id`."""
    message: str
    """What is wrong and what to do about it, for people."""
    param: str | None = None
    """The field that it is about, if it is about one."""

    @property
    def says(self) -> tuple[str, str | None, str]:
        """What is wrong, wherever it is: lines that say the same need the same correction."""
        return self.code, self.param, self.message

    @classmethod
    def of(cls, line: int, custom_id: str | None, error: BackburnerError) -> "SkippedLine":
        """The finding for an error in a line."""
        return cls(line, custom_id, error.code, error.message, error.param)


class Findings(Sequence[SkippedLine]):
    """The first findings, and the number of all of them."""

    def __init__(self, keep: int = MAX_KEPT_FINDINGS) -> None:
        self._keep = keep
        self._kept: list[SkippedLine] = []
        self.total = 0
        """How many were found, kept or not."""
        self.like_first = 0
        """How many of them say the same as the first."""

    def add(self, finding: SkippedLine) -> None:
        """Count the finding, and keep it if there is room."""
        self.total += 1
        if not self._kept or finding.says == self._kept[0].says:
            self.like_first += 1
        if len(self._kept) < self._keep:
            self._kept.append(finding)

    @overload
    def __getitem__(self, position: int) -> SkippedLine: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[SkippedLine]: ...
    def __getitem__(self, position: int | slice) -> SkippedLine | Sequence[SkippedLine]:
        return self._kept[position]

    def __len__(self) -> int:
        return len(self._kept)


class InvalidInput(errors.InvalidInput):
    """The input has lines that cannot be accepted; correct them, or pass --skip-invalid to send the rest."""

    def __init__(self, message: str | None = None, findings: Findings | None = None) -> None:
        super().__init__(message)
        self.findings: Sequence[SkippedLine] = findings if findings is not None else Findings()
        """What was found, at most the first hundred."""
        self.total = findings.total if findings is not None else 0
        """How many lines cannot be accepted."""

    @classmethod
    def of(cls, findings: Findings, what: str = "line", *, accepted: int | None = None) -> "InvalidInput":
        """The error with the first finding and the number of all. `accepted` lines, or items, are beside them."""
        first, total, alike = findings[0], findings.total, findings.like_first
        where = f"{what} {first.line}"
        if alike > 1:
            where = f"all {alike:,} {what}s" if alike == total and accepted == 0 else f"{where} and {alike - 1:,} more"
        more = total - alike
        others = f" (and {more:,} other{'s' if more > 1 else ''})" if more else ""
        return cls(
            f"{where}: {first.message}{others}; correct the input, or pass skip_invalid=True (--skip-invalid) to send "
            "the rest",
            findings,
        )
