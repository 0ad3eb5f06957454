"""The OpenAPI document: what FastAPI knows of its own routes, and by hand of those whose bodies stream."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from backburner.gateway.files.file_object import FileObject
from backburner.gateway.http.errors import ErrorBody
from backburner.gateway.requests.answers import AsyncRequest
from backburner.gateway.uploads.upload_object import PartObject
from backburner_schemas.names import PRIORITIES, Lane
from backburner_schemas.request import Endpoint

_TITLE = "Backburner"
_DESCRIPTION = (
    "OpenAI's batch service over your own GPUs: files, uploads, batches, models, and single requests to wait for."
)
_VERSION = "1"
_CREATED_ONCE = ("/v1/batches", "/v1/uploads")
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


def document(app: FastAPI, root_path: str = "") -> dict[str, Any]:
    """The document, for a service that is found under that path; made once, then kept."""
    if app.openapi_schema is None:
        made = get_openapi(title=_TITLE, version=_VERSION, description=_DESCRIPTION, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for model in (AsyncRequest, ErrorBody, FileObject, PartObject):
            found = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= found.pop("$defs", {})
            schemas[model.__name__] = found
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, operations in _STREAMING.items():
            made["paths"].setdefault(path, {}).update(operations)
        for path in _CREATED_ONCE:
            made["paths"][path]["post"].setdefault("parameters", []).append(IDEMPOTENCY_KEY)
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
        if root_path:
            made["servers"] = [{"url": root_path}]
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
_PART_FORM = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "format": "binary", "description": "The part's bytes, 64 MB at most."}},
}
_UPLOAD_ID = {"name": "upload_id", "in": "path", "required": True, "schema": {"type": "string"}}
_REQUEST_ID = {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N` waits up to N seconds for the answer, 60 at most.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}
_OPTIONS = [
    {"name": "priority", "in": "query", "schema": {"type": "string", "enum": list(PRIORITIES), "default": Lane.NORMAL}},
    {"name": "completion_window", "in": "query", "schema": {"type": "string", "default": "24h"}},
]
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
    "/v1/uploads/{upload_id}/parts": {
        "post": {
            "tags": ["uploads"],
            "summary": "Add Part",
            "description": "Add a part to an upload. It is stored as it comes.",
            "operationId": "add_part",
            "parameters": [_UPLOAD_ID],
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _PART_FORM}}},
            "responses": {"200": _answer("The part.", _ref("PartObject"))},
        }
    },
    "/v1/async/{request_id}": {
        "get": {
            "tags": ["requests"],
            "summary": "Retrieve Request",
            "description": "The response to a single request, or its error with its own status.",
            "operationId": "retrieve_request",
            "parameters": [_REQUEST_ID, _PREFER, _IF_NONE_MATCH],
            "responses": {
                "200": _answer("The response, in the endpoint's own form.", {"type": "object"}),
                "202": _answer("There is no answer yet.", _ref("AsyncRequest")),
                "304": {"description": "The answer is the one that `If-None-Match` names."},
                "default": _answer("The request failed: its error, with the status that it has.", _ref("ErrorBody")),
            },
        }
    },
} | {
    endpoint.replace("/v1", "/v1/async", 1): {
        "post": {
            "tags": ["requests"],
            "summary": f"Create {endpoint.removeprefix('/v1/')}",
            "description": f"Put a request to `{endpoint}` onto the queue. Its answer is to be had under its id.",
            "operationId": f"create_{endpoint.removeprefix('/v1/').replace('/', '_')}",
            "parameters": [*_OPTIONS, IDEMPOTENCY_KEY],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["model"],
                            "properties": {"model": {"type": "string", "description": "As `/v1/models` lists it."}},
                            "description": f"What `{endpoint}` takes, without `stream`.",
                        }
                    }
                },
            },
            "responses": {
                "202": {
                    **_answer("The queue has it.", _ref("AsyncRequest")),
                    "headers": {"Location": {"description": "Where to ask.", "schema": {"type": "string"}}},
                }
            },
        }
    }
    for endpoint in Endpoint
}
