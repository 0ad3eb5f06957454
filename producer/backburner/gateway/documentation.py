"""The OpenAPI document: what FastAPI knows of its own routes, and by hand of those whose bodies stream."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from backburner.gateway.files.file_object import FileObject
from backburner.gateway.http.errors import ErrorBody

_TITLE = "Backburner"
_DESCRIPTION = (
    "OpenAI's batch service over your own GPUs: files, uploads, batches, models, and single requests to wait for."
)
_VERSION = "1"
_METHODS = ("get", "post", "delete")
_ERRORS = {
    "400": "The call is not as it should be; `param` names the argument at fault.",
    "401": "The API key or token is missing or not accepted.",
    "403": "The API key or token lacks the scope for this.",
    "404": "There is no such object, or it is another tenant's.",
    "408": "The body came too slowly.",
    "409": "The call does not fit what is there.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "429": "A limit is reached; `Retry-After` says when to call again.",
    "503": "Object store or queue do not answer; `Retry-After` says when to call again.",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made once, then kept."""
    if app.openapi_schema is None:
        made = get_openapi(title=_TITLE, version=_VERSION, description=_DESCRIPTION, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for model in (ErrorBody, FileObject):
            found = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= found.pop("$defs", {})
            schemas[model.__name__] = found
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, operations in _STREAMING.items():
            made["paths"].setdefault(path, {}).update(operations)
        for path in made["paths"].values():
            for method in _METHODS:
                if method in path:
                    _complete(path[method])
        made["components"]["securitySchemes"] = {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, or a token of the OpenID issuer.",
            }
        }
        made["security"] = [{"bearer": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _complete(operation: dict[str, Any]) -> None:
    """Add what every operation can answer, in place of FastAPI's own form of errors."""
    responses = operation["responses"]
    responses.pop("422", None)
    for status, text in _ERRORS.items():
        responses.setdefault(
            status, {"description": text, "content": {"application/json": {"schema": _ref(ErrorBody.__name__)}}}
        )
    for response in responses.values():
        response.setdefault("headers", {})["x-request-id"] = {
            "description": "The call's id, as the service's log has it.",
            "schema": {"type": "string"},
        }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(text: str, schema: Mapping[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": dict(schema)}}}


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same call with the same key makes nothing new; another call with the same key is a conflict.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

_FILE_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file: a request a line, as JSON, in UTF-8."},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
_FILE_ID = {"name": "file_id", "in": "path", "required": True, "schema": {"type": "string"}}

_STREAMING: dict[str, dict[str, Any]] = {
    "/v1/files": {
        "post": {
            "tags": ["files"],
            "summary": "Create File",
            "description": "Upload a file of requests. It is stored as it comes, and checked on the way.",
            "operationId": "create_file",
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILE_FORM}}},
            "responses": {"200": _answer("The file.", _ref("FileObject"))},
        }
    },
    "/v1/files/{file_id}/content": {
        "get": {
            "tags": ["files"],
            "summary": "File Content",
            "description": "Download a file. A batch's results can be read while it runs: what is there then.",
            "operationId": "file_content",
            "parameters": [_FILE_ID],
            "responses": {
                "200": _answer("The file's bytes.", {"type": "string", "format": "binary"}, "application/octet-stream")
            },
        }
    },
}
