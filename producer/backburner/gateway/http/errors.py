"""Errors as HTTP answers, in OpenAI's form. What the caller cannot mend is told without the inside of the service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from backburner_schemas.errors import BackburnerError, IdempotencyConflict, QueueError, RateLimited, StoreError

JSON = "application/json"
RETRY_AFTER_SECONDS = 5
"""What callers are told to wait for a store or a broker that is away; they ask again as long as it takes."""
_MAX_MESSAGE_CHARACTERS = 2000
_FIRST_SERVER_STATUS = 500


class InternalFailure(BackburnerError):
    """Something failed inside the service; tell its operator the x-request-id of this answer."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    """What happened and what to do about it, for people."""
    type: str
    """OpenAI's kind of error: `invalid_request_error`, `rate_limit_error`, `server_error` and the like."""
    param: str | None = None
    """The parameter at fault, where there is one."""
    code: str | None = None
    """Stable; docs/errors.md lists all of them."""


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


def error_response(error: BackburnerError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells of the error."""
    status = _status(error)
    return Response(to_json(error_body(error)), status, {**_headers(error, status), **(headers or {})}, media_type=JSON)


def error_body(error: BackburnerError) -> dict[str, Any]:
    """The error in OpenAI's form."""
    return error_form(_status(error), error.code, _message(error), error.param)


def error_form(status: int, code: str, message: str, param: str | None) -> dict[str, Any]:
    """OpenAI's form of an error with that HTTP status."""
    return {
        "error": {
            "message": message[:_MAX_MESSAGE_CHARACTERS],
            "type": error_type(status),
            "param": param,
            "code": code,
        }
    }


def error_type(status: int) -> str:
    """OpenAI's name for the kind of error that has this HTTP status."""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return "authentication_error"
        case HTTPStatus.FORBIDDEN:
            return "permission_error"
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limit_error"
    return "server_error" if status >= _FIRST_SERVER_STATUS else "invalid_request_error"


def _status(error: BackburnerError) -> int:
    if isinstance(error, (StoreError, QueueError)):
        # A store that refuses the gateway's own credentials is nothing that the caller is denied.
        return HTTPStatus.SERVICE_UNAVAILABLE
    return error.http_status


def _message(error: BackburnerError) -> str:
    if isinstance(error, StoreError):
        return "the object store does not answer as it should; nothing was lost: call again"
    if isinstance(error, QueueError):
        return "the queue does not answer as it should; the call was not accepted: call again"
    return error.message


def _headers(error: BackburnerError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, RateLimited):
        headers |= error.headers
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
        headers["retry-after-ms"] = str(max(1, int(error.retry_after * 1000)))
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    elif status == HTTPStatus.CONFLICT or isinstance(error, IdempotencyConflict):
        # The stock package sends what got a 409 again, which changes nothing here.
        headers["x-should-retry"] = "false"
    return headers
