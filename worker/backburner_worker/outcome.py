"""An outcome: what became of a delivery, ready to be stored. Made by the generator, stored by the results."""

from dataclasses import dataclass, field

from backburner_schemas.envelope import Address, AnswerMode
from backburner_schemas.letter import DeadLetter
from backburner_schemas.result import ResultRecord, encode_record
from backburner_schemas.segment import Line
from backburner_worker.engine.base import Usage

_NO_USAGE = Usage()


@dataclass(slots=True, eq=False)
class Outcome:
    """A record, a dead letter, both, or neither where nobody would read it."""

    address: Address | None = None
    record: ResultRecord | None = None
    """An error's."""
    letter: DeadLetter | None = None
    letter_key: str = ""
    answer: AnswerMode = AnswerMode.SEGMENT
    usage: Usage = _NO_USAGE
    engine_s: float = 0.0
    record_data: bytes = b""
    """The record's line: a response's from the beginning, an error's once it is packed; empty if there is none."""
    kind: str = field(init=False)
    """What metrics and logs call it."""
    code: str = field(init=False)
    """The error's code; empty for a response."""
    letter_data: bytes = field(init=False, default=b"")
    """The letter's object, once it is packed; empty if there is none."""

    def __post_init__(self) -> None:
        if self.letter is not None:
            self.kind, self.code = "dead_letter", self.letter.code
        elif self.record is not None:
            self.kind, self.code = "error", self.record.error.code if self.record.error else ""
        else:
            self.kind, self.code = "response" if self.record_data else "dropped", ""

    def pack(self) -> None:
        """Keep the bytes and let go of the rest, which takes several times their memory while it waits for a store."""
        if self.record is not None:
            self.record_data, self.record = encode_record(self.record), None
        if self.letter is not None:
            self.letter_data, self.letter = self.letter.model_dump_json(exclude_none=True).encode(), None

    def line(self) -> Line:
        """The packed record on its way into a segment, which has it from now on."""
        assert self.address is not None
        data, self.record_data = self.record_data, b""
        return Line(
            index=self.address.index,
            data=data,
            error_code=self.code or None,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            engine_s=self.engine_s,
        )
