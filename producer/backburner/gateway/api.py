"""The gateway as an ASGI application: its routes, and what stands before them."""

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import backburner.gateway.batches.routes as batches
import backburner.gateway.files.routes as files
import backburner.gateway.models.routes as models
import backburner.gateway.requests.routes as requests
import backburner.gateway.uploads.routes as uploads
from backburner.gateway.documentation import document
from backburner.gateway.http.body import CallerGone
from backburner.gateway.http.call import call_of
from backburner.gateway.http.direct_routes import DirectRoutes
from backburner.gateway.http.errors import InternalFailure, error_response
from backburner.gateway.http.front import Front
from backburner.gateway.http.root_path import RootPath
from backburner.gateway.parts import Parts
from backburner_schemas.errors import BackburnerError, CallRefused, MethodNotAllowed, UnknownUrl
from backburner_schemas.request import Endpoint

_NOT_FOUND_STATUS, _NOT_ALLOWED_STATUS, _GONE_STATUS = 404, 405, 499
_MAX_PLACE_CHARACTERS = 300


def create_api(parts: Parts) -> ASGIApp:
    """The application that serves these parts."""
    settings = parts.settings
    front = Front(
        DirectRoutes(routes(parts), requests.created_often),
        authenticator=parts.authenticator,
        limiter=parts.limiter,
        audit=parts.audit,
        telemetry=parts.telemetry,
        answer_seconds=settings.gateway_answer_seconds,
        max_calls=settings.gateway_max_calls,
        memory=parts.answer_memory,
    )
    root = settings.gateway_root_path
    return RootPath(front, root) if root else front


def routes(parts: Parts | None = None) -> FastAPI:
    """The routes alone; without parts they can only be documented."""
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.parts = parts
    app.router.routes += [*files.streaming, *uploads.streaming, *requests.streaming]
    for router in (files.router, uploads.router, batches.router, models.router):
        app.include_router(router)
    root = parts.settings.gateway_root_path if parts is not None else ""
    app.openapi = lambda: document(app, root)  # type: ignore[method-assign]
    app.add_exception_handler(BackburnerError, _told)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _by_status)
    app.add_exception_handler(CallerGone, _gone)
    app.add_exception_handler(Exception, _failed)
    return app


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, BackburnerError)
    return _answer(request, error)


def _answer(request: Request, error: BackburnerError, headers: Mapping[str, str] | None = None) -> Response:
    call_of(request).error = error
    return error_response(error, headers)


async def _refused(request: Request, error: Exception) -> Response:
    """What FastAPI finds wrong with a call's arguments, by its first finding. OpenAI answers it with 400, not 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])[:_MAX_PLACE_CHARACTERS]
    message = first["msg"].removeprefix("Value error, ")
    if not where and first["type"] == "value_error":
        return _answer(request, CallRefused(f"the body {message}"))
    if first["type"] == "json_invalid" or not where:
        return _answer(request, _unreadable())
    if first["type"] == "extra_forbidden":
        message = "is not known; remove it"
    return _answer(request, CallRefused(f"{where}: {message}", param=where))


async def _by_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, BackburnerError):
        # FastAPI takes whatever ends the reading of a body for a fault of the body.
        return _answer(request, cause)
    if error.status_code == _NOT_FOUND_STATUS:
        return _answer(request, _unknown(request.url.path))
    if error.status_code == _NOT_ALLOWED_STATUS:
        return _answer(request, MethodNotAllowed(), error.headers)
    # FastAPI has no other: it stands for a body that is no JSON, or is nested or numbered beyond measure.
    return _answer(request, _unreadable())


def _unreadable() -> CallRefused:
    return CallRefused(
        "the body cannot be read as this call's JSON object; send one in UTF-8, with Content-Type: application/json"
    )


def _unknown(path: str) -> UnknownUrl:
    if path in set(Endpoint):
        return UnknownUrl(
            f"{path} answers nothing at once here: make a batch of such requests, or POST this one to "
            f"{path.replace('/v1', requests.PREFIX, 1)} and ask for its answer later"
        )
    return UnknownUrl()


async def _gone(request: Request, error: Exception) -> Response:
    del request, error
    return Response(status_code=_GONE_STATUS)


async def _failed(request: Request, error: Exception) -> Response:
    """A bug's answer; Starlette raises it once more, and the front logs it."""
    del error
    return _answer(request, InternalFailure())
