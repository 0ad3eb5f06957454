"""An outcome: what became of a delivery, ready to be stored. Decisions are made in `policy`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from backburner.logs import explained, get_logger
from backburner_schemas import keys
from backburner_schemas.envelope import Address, AnswerMode, Envelope
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.result import ResultFacts, ResultRecord, encode_record, encode_response, error_record
from backburner_schemas.segment import Line
from backburner_worker.engine.base import EngineResponse
from backburner_worker.policy import AlreadyAnswered, Complete, DeadLettered, End, Retry, Run
from backburner_worker.sources.base import Delivery

log = get_logger(__name__)

ALREADY_ANSWERED = "already_answered"
"""The kind of an outcome that an earlier delivery has stored."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who answered: goes into every record and every dead letter."""

    pool: str
    worker: str
    group: str
    version: str
    release: str | None = None

    def facts(
        self,
        delivery: Delivery,
        address: Address,
        *,
        queue_s: float | None = None,
        engine_s: float | None = None,
        cached: bool = False,
        model: str | None = None,
        requested_model: str | None = None,
    ) -> dict[str, Any]:
        """The fields of the record's `ResultFacts`."""
        return {
            "index": address.index,
            "attempt": delivery.facts.attempt,
            "pool": self.pool,
            "worker": self.worker,
            "group": self.group,
            "version": self.version,
            "release": self.release,
            "queue_s": queue_s,
            "engine_s": engine_s,
            "cached": cached,
            "model": model,
            "requested_model": requested_model,
            "failed_at": delivery.facts.failed_at or None,
        }


@dataclass(slots=True, eq=False)
class Outcome:
    """A record, a dead letter, both, or neither where nobody needs it. Its bytes: many wait for the store."""

    kind: str = "dropped"
    """Its label in metrics and logs."""
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
    def of(cls, verdict: End, delivery: Delivery, signature: Signature, *, log_prompts: bool = False) -> "Outcome":
        """The outcome of a delivery that ends without a response. What may quote a prompt is logged if prompts are."""
        if isinstance(verdict, Complete):
            return _failed(verdict, delivery, signature, explained(verdict.error, whole=log_prompts))
        if isinstance(verdict, DeadLettered):
            return _dead(verdict, delivery, signature, explained(verdict.error, whole=log_prompts))
        return cls(ALREADY_ANSWERED if isinstance(verdict, AlreadyAnswered) else "dropped")

    @classmethod
    def response(
        cls, run: Run, identity: str, response: EngineResponse, facts: dict[str, Any], engine_s: float = 0.0
    ) -> "Outcome":
        """A record of a response; `identity` is the record's own."""
        address, usage = run.envelope.address, response.usage
        # Here, where a body that cannot be written is this request's trouble alone.
        data = encode_response(identity, address.custom_id, response.status_code, response.body, facts)
        line = Line(address.index, data, None, usage.prompt_tokens, usage.completion_tokens, engine_s)
        return cls("response", "", address, line, run.answer)

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
        data = to_json(letter, exclude_none=True)
        return cls("dead_letter", letter.code, address, line, answer, data, key)

    def take_line(self) -> Line | None:
        """The record's line, which is the segment's alone from now on."""
        line, self.line = self.line, None
        return line


Ending = Outcome | Retry | End | None
"""How a delivery ends; None where it is left to another worker."""


def _failed(verdict: Complete, delivery: Delivery, signature: Signature, said: Mapping[str, str]) -> Outcome:
    address, error = verdict.address, verdict.error
    log.info("request failed", **said, **where(address))
    facts = ResultFacts.model_construct(**signature.facts(delivery, address))
    return Outcome.error(address, error_record(address, error, facts), verdict.answer)


def _dead(verdict: DeadLettered, delivery: Delivery, signature: Signature, said: Mapping[str, str]) -> Outcome:
    letter = StoredDeadLetter.of(
        verdict.error,
        origin=delivery.origin,
        facts=delivery.facts,
        worker=signature.worker,
        now=time.time(),
        envelope=delivery.message if isinstance(delivery.message, Envelope) else None,
        raw=delivery.raw,
    )
    address = verdict.address
    if address is None:
        key = keys.unaddressed_letter(delivery.origin.queue, delivery.origin.position)
        log.warning("dead letter", **said, key=key)
        return Outcome.dead(letter, key)
    key = keys.dead_letter(address.tenant, address.job, address.index)
    log.warning("dead letter", **said, key=key, **where(address))
    facts = ResultFacts.model_construct(**signature.facts(delivery, address))
    return Outcome.dead(letter, key, address, error_record(address, verdict.error, facts), verdict.answer)


def where(address: Address) -> dict[str, object]:
    """A request's fields in log lines."""
    return {"tenant": address.tenant, "job": address.job, "index": address.index}


def _error_line(record: ResultRecord) -> Line:
    assert record.error is not None
    return Line(record.backburner.index, encode_record(record), record.error.code)
