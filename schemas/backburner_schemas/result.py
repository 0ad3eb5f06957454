"""The result record: what became of one request, as one line in OpenAI's batch output form."""

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticSerializationError, to_json

from backburner_schemas.envelope import Address
from backburner_schemas.errors import BackburnerError, RequestRefused, Unanswered, Undeliverable
from backburner_schemas.request import at_most


class ResponseBody(BaseModel):
    """A response as the engine returned it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status_code: int
    """HTTP's status of the answer, 200."""
    request_id: str
    """The record's own id."""
    body: dict[str, Any]
    """The answer in the endpoint's own form, as OpenAI defines it."""


class ResultError(BaseModel):
    """Why there is no response. `code` is stable; `param` names the field at fault, where there is one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    """Stable code of the error, as docs/errors.md lists them."""
    message: str
    """What happened and what to do about it, for people."""
    param: str | None = None
    """The field at fault, where there is one."""

    @classmethod
    def of(cls, error: BackburnerError) -> "ResultError":
        """The record form of an error."""
        return cls(code=error.code, message=error.message, param=error.param)


class ResultFacts(BaseModel):
    """What Backburner knows of the outcome, beside OpenAI's fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int | str
    """The request's place in its job, from 0; a text in streams."""
    attempt: int = 1
    """Which attempt had this outcome; 1 is the first."""
    pool: str | None = None
    """Pool of the worker; null where no worker has seen the request."""
    worker: str | None = None
    """Name of the worker."""
    group: str | None = None
    """Name of the group of workers that it was started in; the pool's where none was given."""
    version: str | None = None
    """Engine and version that answered."""
    release: str | None = None
    """Rollout that the worker is of; null where it was told none."""
    queue_s: float | None = None
    """Seconds from the producer's envelope to the engine."""
    engine_s: float | None = None
    """Seconds in the engine; null where no engine ran, as for a refused request or a cached response."""
    cached: bool = False
    """Whether the response came from the result cache, which has it from an earlier request."""
    model: str | None = None
    """Served name of the model or adapter that gave the response; null where there is none."""
    requested_model: str | None = None
    """What the request called that model, where it used an alias; null where it used the served name."""
    failed_at: Annotated[tuple[str, ...] | None, at_most(100)] = None
    """Where earlier attempts failed, as `group/release` in percent-encoding, the latest last; null if none did, or it
    is not known."""


class Blame(StrEnum):
    """What an outcome says of the worker that had it."""

    OK = "ok"
    """It answered."""
    FAILED = "failed"
    """Engine or worker failed."""
    REFUSED = "refused"
    """Nothing: the request was refused, or its job ended before it ran."""

    @classmethod
    def of(cls, error_code: str | None) -> "Blame":
        """What a record with that error's code says; None for a response."""
        if error_code is None:
            return cls.OK
        return cls.REFUSED if error_code in _NOBODYS else cls.FAILED


def _codes(root: type[BackburnerError]) -> Iterator[str]:
    yield root.code
    for kind in root.__subclasses__():
        yield from _codes(kind)


_NOBODYS = frozenset(code for root in (RequestRefused, Undeliverable, Unanswered) for code in _codes(root))
"""Codes of errors that no worker is to blame for."""


class TokenUsage(BaseModel):
    """Tokens of one response, by the same names whatever its endpoint."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int = 0
    """Tokens of the prompt."""
    output_tokens: int = 0
    """Tokens of the answer."""
    total_tokens: int = 0
    """Both together."""

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> "TokenUsage":
        """What a response's `usage` says; the endpoints have two names for each. What is no number is 0."""
        read = _count(usage, "prompt_tokens", "input_tokens")
        written = _count(usage, "completion_tokens", "output_tokens")
        return cls(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _count(usage: Mapping[str, Any], *names: str) -> int:
    found = next((usage[name] for name in names if name in usage), 0)
    return found if isinstance(found, int) and found >= 0 else 0


class ResultRecord(BaseModel):
    """One line of a segment: a response or an error, never both, never neither."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    """`batch_req_…`, made from the request's address: the same at every delivery."""
    custom_id: str | None
    """The request's own; null where it had none, or was cut off before a worker saw it."""
    response: ResponseBody | None = None
    """The response; null if there is an error instead."""
    error: ResultError | None = None
    """The error; null if there is a response instead."""
    backburner: ResultFacts
    """Beside OpenAI's form: where and how often the request ran, and for how long."""

    @model_validator(mode="after")
    def _one_outcome(self) -> "ResultRecord":
        if (self.response is None) == (self.error is None):
            raise ValueError("needs either a response or an error")
        return self

    @property
    def ok(self) -> bool:
        """Whether the request got its response."""
        return self.response is not None

    @property
    def index(self) -> int | str:
        """The request's place in its job, from 0; a text in streams."""
        return self.backburner.index

    @property
    def usage(self) -> TokenUsage:
        """Tokens of the prompt and of the answer, as the engine counted them; zeros for errors."""
        found = self.response.body.get("usage") if self.response else None
        return TokenUsage.of(found if isinstance(found, dict) else {})

    @property
    def text(self) -> str:
        """The answer's text: the first choice's message or text, or the texts of a response's messages, joined.

        Empty for errors and for embeddings.
        """
        body = self.response.body if self.response else {}
        if isinstance(output := body.get("output"), list):
            return "".join(_output_texts(output))
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return ""
        message = choice.get("message")
        found = message.get("content") if isinstance(message, dict) else choice.get("text")
        return found if isinstance(found, str) else ""


def _output_texts(output: list[Any]) -> Iterator[str]:
    for item in output:
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "output_text" and isinstance(part.get("text"), str):
                yield part["text"]


def record_id(address: Address) -> str:
    """The same id for the same request at every delivery."""
    digest = hashlib.sha256(f"{address.tenant}/{address.job}/{address.index}".encode()).hexdigest()
    return f"batch_req_{digest[:24]}"


def error_record(address: Address, error: BackburnerError, facts: ResultFacts | None = None) -> ResultRecord:
    """The record of a request that has no response."""
    return ResultRecord(
        id=record_id(address),
        custom_id=address.custom_id,
        error=ResultError.of(error),
        backburner=facts or ResultFacts(index=address.index),
    )


def encode_record(record: ResultRecord) -> bytes:
    """The record's JSON line, without its line end. NaN and infinities become null, lone surrogates U+FFFD."""
    return _line(record.model_dump(mode="python"))


def encode_response(
    identity: str, custom_id: str | None, status_code: int, body: Mapping[str, Any], facts: dict[str, Any]
) -> bytes:
    """The line that `encode_record` returns for that response, at a fifth of its cost, since no model is created.

    `identity` is its `record_id`; `facts` holds every field of `ResultFacts`, in their order.
    """
    return _line(
        {
            "id": identity,
            "custom_id": custom_id,
            "response": {"status_code": status_code, "request_id": identity, "body": dict(body)},
            "error": None,
            "backburner": facts,
        }
    )


def _line(found: dict[str, Any]) -> bytes:
    try:
        return to_json(found, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(_whole(found), inf_nan_mode="null", serialize_unknown=True)


def _whole(value: Any) -> Any:
    """The value with text that UTF-8 can hold: an answer is worth more than its broken character."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one) for one in value]
    return value
