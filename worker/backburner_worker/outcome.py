"""An outcome: what became of a delivery, ready to be stored. Made by the generator, stored by the results."""

from dataclasses import dataclass

from backburner_schemas.envelope import Address, AnswerMode
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.result import ResultRecord, encode_record
from backburner_schemas.segment import Line


@dataclass(slots=True, eq=False)
class Outcome:
    """A record, a dead letter, both, or neither where nobody would read it. Its bytes: many wait for the store."""

    kind: str = "dropped"
    """What metrics and logs call it."""
    code: str = ""
    """The error's code; empty for a response."""
    address: Address | None = None
    line: Line | None = None
    """The record's line, on its way into a segment; None if there is no record."""
    answer: AnswerMode = AnswerMode.SEGMENT
    letter: bytes = b""
    """The dead letter's object; empty if there is none."""
    letter_key: str = ""

    @classmethod
    def error(cls, address: Address, record: ResultRecord, answer: AnswerMode) -> "Outcome":
        """A record of an error."""
        line = _error_line(record)
        return cls("error", line.error_code or "", address, line, answer)

    @classmethod
    def dead(
        cls,
        letter: StoredDeadLetter,
        key: str,
        address: Address | None = None,
        record: ResultRecord | None = None,
        answer: AnswerMode = AnswerMode.SEGMENT,
    ) -> "Outcome":
        """A dead letter, and the record of its error where it has an address."""
        line = _error_line(record) if record is not None else None
        data = letter.model_dump_json(exclude_none=True).encode()
        return cls("dead_letter", letter.code, address, line, answer, data, key)

    def take_line(self) -> Line | None:
        """The record's line, which is the segment's alone from now on."""
        line, self.line = self.line, None
        return line


def _error_line(record: ResultRecord) -> Line:
    assert record.error is not None
    return Line(record.backburner.index, encode_record(record), record.error.code)
