"""An outcome: what became of a delivery, ready to be stored. Made by the generator, stored by the results."""

from dataclasses import dataclass

from backburner_schemas.envelope import Address, AnswerMode
from backburner_schemas.letter import DeadLetter
from backburner_schemas.result import ResultRecord
from backburner_worker.engine.base import Usage

_NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record, a dead letter, both, or neither where nobody would read it."""

    address: Address | None = None
    record: ResultRecord | None = None
    letter: DeadLetter | None = None
    letter_key: str = ""
    answer: AnswerMode = AnswerMode.SEGMENT
    usage: Usage = _NO_USAGE
    engine_s: float = 0.0

    @property
    def kind(self) -> str:
        """What metrics and logs call it."""
        if self.letter is not None:
            return "dead_letter"
        if self.record is None:
            return "dropped"
        return "response" if self.record.ok else "error"

    @property
    def code(self) -> str:
        """The error's code; empty for a response."""
        if self.letter is not None:
            return self.letter.code
        return self.record.error.code if self.record and self.record.error else ""
