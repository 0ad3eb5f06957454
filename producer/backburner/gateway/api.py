"""The gateway as an ASGI application: its routes, and what stands before them."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import backburner.gateway.batches.routes as batches
import backburner.gateway.files.routes as files
import backburner.gateway.models.routes as models
from backburner.gateway.documentation import document
from backburner.gateway.http.errors import error_response
from backburner.gateway.http.front import Front
from backburner.gateway.parts import Parts
from backburner_schemas.errors import BackburnerError, CallRefused, MethodNotAllowed, UnknownUrl

_NOT_FOUND_STATUS, _NOT_ALLOWED_STATUS = 404, 405


def create_api(parts: Parts) -> ASGIApp:
    """The application that serves these parts."""
    settings = parts.settings
    return Front(
        routes(parts),
        authenticator=parts.authenticator,
        limiter=parts.limiter,
        telemetry=parts.telemetry,
        answer_seconds=settings.gateway_answer_seconds,
        max_calls=settings.gateway_max_calls,
    )


def routes(parts: Parts | None = None) -> FastAPI:
    """The routes alone; without parts they can only be documented."""
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.parts = parts
    app.router.routes += [*files.streaming]
    for router in (files.router, batches.router, models.router):
        app.include_router(router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    app.add_exception_handler(BackburnerError, _told)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _by_status)
    return app


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, BackburnerError)
    # The front knows what is logged and counted.
    del request
    raise error


async def _refused(request: Request, error: Exception) -> Response:
    """What FastAPI finds wrong with a call's arguments, by its first finding. OpenAI answers it with 400, not 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])[:200]
    if first["type"] == "json_invalid" or not where:
        raise CallRefused("the body cannot be read as this call's JSON object; correct it")
    del request
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "is not known; remove it"
    raise CallRefused(f"{where}: {message}", param=where)


async def _by_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, BackburnerError):
        # FastAPI takes whatever ends the reading of a body for a fault of the body.
        raise cause
    if error.status_code == _NOT_FOUND_STATUS:
        raise UnknownUrl
    if error.status_code == _NOT_ALLOWED_STATUS:
        return error_response(MethodNotAllowed(), error.headers)
    del request
    raise CallRefused(str(error.detail)[:500])
