"""The gateway's own OpenAPI document, turned against it: whatever is sent, no call ends in a bug."""

import importlib

import hypothesis
import pytest
from gateway import batch_lines, served
from hypothesis import strategies

from backburner.gateway.api import routes

_MAX_EXAMPLES = min(16, hypothesis.settings.default.max_examples // 4)
"""Calls of each operation: some hundred in all, within seconds."""
_CALLS = [
    (path, method) for path, found in routes().openapi()["paths"].items() for method in found if method != "parameters"
]


@pytest.fixture(scope="module")
def tool():
    """Imported by the process that runs these tests alone: it takes longer than to collect all others."""
    return importlib.import_module("schemathesis")


@pytest.fixture(scope="module")
def checks(tool):
    conformance = importlib.import_module("schemathesis.specs.openapi.checks")
    return [
        tool.checks.not_a_server_error,
        conformance.content_type_conformance,
        conformance.response_schema_conformance,
    ]


@pytest.fixture(scope="module")
def gateway(tool):
    with served() as made:
        with made.client() as client:
            file = client.post("/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch"}).json()
            wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            batch = client.post("/v1/batches", json=wanted).json()
            upload = {"filename": "a", "bytes": 9, "purpose": "batch", "mime_type": "x"}
            upload = client.post("/v1/uploads", json=upload).json()
            single = client.post("/v1/async/chat/completions", json={"model": "fake", "messages": []}).json()
        named = {"file_id": file, "batch_id": batch, "upload_id": upload, "request_id": single}
        made.ids = {**{name: one["id"] for name, one in named.items()}, "model": "fake"}
        made.schema = tool.openapi.from_url(f"{made.url}/openapi.json")
        yield made


@pytest.mark.parametrize(("path", "method"), _CALLS)
def test_no_call_that_the_document_allows_or_forbids_ends_in_a_bug(tool, checks, gateway, path, method):
    operation = gateway.schema[path][method.upper()]
    modes = [operation.as_strategy(generation_mode=mode) for mode in tool.GenerationMode]

    @hypothesis.settings(
        max_examples=_MAX_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=strategies.one_of(modes), real=strategies.booleans())
    def fuzz(case, real):
        if real:
            case.path_parameters = {**(case.path_parameters or {}), **gateway.ids}
        case.call_and_validate(
            headers={"Authorization": f"Bearer {gateway.secret}"},
            checks=checks,
            timeout=30,
        )

    fuzz()
