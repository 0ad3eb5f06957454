"""What a server's answer means: a response, the request's own fault, or the server's. Pure.

Errors come in the forms of OpenAI and vLLM (`{"error": {"message", "param", "code"}}`), of text-generation-inference
(`{"error": "…", "error_type": "validation"}`), of FastAPI, and so Triton's OpenAI front end (`{"detail": "…"}`, or a
list of what is wrong where), and of proxies between, as HTML or text.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from backburner_schemas.errors import (
    BackburnerError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    RequestRefused,
)
from backburner_worker.engine.openai_http.client import HttpAnswer
from backburner_worker.engine.openai_http.options import TOKEN_FILE, URLS

_SHOWN_CHARACTERS = 1000
"""Of a server's own words."""
_MAX_PARAM_CHARACTERS = 128
_MAX_RETRY_AFTER_SECONDS = 60.0
_SPARE_LEVELS_COUNT = 8
"""Of nesting. A record holds the answer two levels down, and its readers go no deeper than the reader here does."""

_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_IMPLEMENTED})
_OF_THE_CALLER = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_NOT_OFFERED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_CONTEXT_PARAMS = frozenset({"input_tokens", "input_text"})
_CONTEXT_PHRASES = (
    # OpenAI and vLLM
    "maximum context length",
    "maximum model length",
    "cannot be greater than max_model_len",
    "context_length_exceeded",
    # text-generation-inference
    "`inputs` tokens + `max_new_tokens` must be",
    "inputs tokens + max_new_tokens must be",
    "`inputs` must have less than",
    # TensorRT-LLM, behind Triton
    "exceeds maximum input length",
    "should not exceed max_seq_len",
)


class Busy(Exception):
    """The server takes no more for now, and has not begun; `pause` is what it asks for, in seconds."""

    def __init__(self, message: str, pause: float | None) -> None:
        super().__init__(message)
        self.pause = pause


class Denied(Exception):
    """The server takes nothing from this worker, and has not begun; the text says what to change.

    `certain`: whether it means the worker. Otherwise it may mean this request alone, as firewalls and moderations do.
    """

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    param: str | None = None
    code: str = ""


def judge(answer: HttpAnswer) -> dict[str, Any]:
    """The answer's JSON, where it is a success.

    Raises `RequestRefused` for the request's own fault, `Busy` and `Denied` for what the server did not begin, and
    `EngineError` for all else: the server's fault, which may not come again.
    """
    status = answer.status
    if answer.ok:
        return _success(answer)
    failure = _failure(answer)
    message = failure.message if failure is not None else f"the server answered {_named(status)} and said no more"
    unavailable = status == HTTPStatus.SERVICE_UNAVAILABLE
    # A proxy's own 503, in no such form, may as well mean that the server died of the request.
    if status == HTTPStatus.TOO_MANY_REQUESTS or (unavailable and (failure is not None or answer.retry_after)):
        raise Busy(message, retry_after(answer.retry_after, time.time()))
    if status in _OF_THE_CALLER:
        raise Denied(f"it refuses this worker ({_named(status)}: {message}); put a valid token into {TOKEN_FILE}")
    if status == HTTPStatus.FORBIDDEN:
        raise Denied(
            f"it refuses this request, or this worker ({_named(status)}: {message}); if it refuses all, put a valid "
            f"token into {TOKEN_FILE}",
            certain=False,
        )
    if status in range(300, 400):
        raise Denied(f"it sends callers elsewhere ({_named(status)}); set {URLS} to where it serves")
    raise _error(status, failure, message)


def is_absent(answer: HttpAnswer) -> bool:
    """Whether nothing is served under that URL."""
    return answer.status in _NOT_OFFERED


def parse(body: bytes) -> Any:
    """The JSON. Raises `ValueError` for what is none, for numbers that JSON has not, and for nesting without end."""
    found = from_json(b"[" * _SPARE_LEVELS_COUNT + body + b"]" * _SPARE_LEVELS_COUNT, allow_inf_nan=False)
    for _ in range(_SPARE_LEVELS_COUNT):
        # Not one where the body closes brackets that are not its own.
        (found,) = found
    return found


def retry_after(text: str, now: float) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or a date, 60 at most; None where it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _MAX_RETRY_AFTER_SECONDS)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _success(answer: HttpAnswer) -> dict[str, Any]:
    try:
        body = parse(answer.body)
    except ValueError as error:
        kind = answer.content_type[:100] or "nothing"
        raise EngineError(f"the server answered {_named(answer.status)} with {kind} that is no JSON") from error
    if not isinstance(body, dict):
        raise EngineError("the server's answer is no JSON object")
    if (failure := _in_body(body, answer.token)) is not None and ("error" in body or body.get("object") == "error"):
        # An error that came as a success, as from proxies that had begun to answer.
        raise EngineError(failure.message)
    return body


def _error(status: int, failure: _Failure | None, message: str) -> BackburnerError:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Proxies say it in their own way.
        return RequestRefused(f"the server takes no body of that size ({message}); send less", param="body")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return EngineBusy(message)
    if failure is None or status not in _REFUSALS:
        # A refusal that no server of models has signed is a proxy's, and no fault of the request.
        return EngineError(message)
    said = f"{failure.code} {message}"
    if failure.param in _CONTEXT_PARAMS or any(phrase in said for phrase in _CONTEXT_PHRASES):
        return ContextLengthExceeded(message, param=failure.param)
    return RequestRefused(message, param=failure.param)


def _failure(answer: HttpAnswer) -> _Failure | None:
    try:
        return _in_body(parse(answer.body), answer.token)
    except ValueError:
        return None


def _in_body(body: Any, token: str) -> _Failure | None:
    """The error in a body, in whichever form, without the token of the call; None if it has none.

    Some servers repeat the token in what they say, and that is shown to whoever sent the request.
    """
    failure = _read_failure(body)
    if failure is None:
        return None
    message, param = failure.message, failure.param
    if token:
        message, param = message.replace(token, "[token]"), param.replace(token, "[token]") if param else None
    return replace(failure, message=_cut(message), param=param[:_MAX_PARAM_CHARACTERS] if param else None)


def _read_failure(body: Any) -> _Failure | None:
    if isinstance(body, list) and body:
        # Google's, for a call that streams.
        body = body[0]
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    if isinstance(error, Mapping):
        return _openai(error)
    if isinstance(error, str):
        return _Failure(error, code=_text(body.get("error_type")))
    detail = body.get("detail")
    if isinstance(detail, str):
        return _Failure(detail)
    if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):
        return _fastapi(detail[0])
    if isinstance(body.get("message"), str):
        # vLLM's form before it took OpenAI's, and that of API gateways.
        return _openai(body)
    return None


def _openai(error: Mapping[str, Any]) -> _Failure:
    message = _text(error.get("message")) or _text(error.get("type")) or "it gave no reason"
    param = error.get("param")
    return _Failure(message, param if isinstance(param, str) and param else None, _text(error.get("code")))


def _fastapi(first: Mapping[str, Any]) -> _Failure:
    where = first.get("loc")
    # Its first part says that it is in the body.
    parts = [str(part)[:_MAX_PARAM_CHARACTERS] for part in where[1:8]] if isinstance(where, list) else []
    message = _text(first.get("msg")) or "it gave no reason"
    param = ".".join(parts) or None
    return _Failure(f"{param}: {message}" if param else message, param)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cut(message: str) -> str:
    return message if len(message) <= _SHOWN_CHARACTERS else f"{message[:_SHOWN_CHARACTERS]}…"
