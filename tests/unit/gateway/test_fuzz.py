"""The gateway's own OpenAPI document, turned against it: whatever is sent, no call ends in a bug."""

import hypothesis
import pytest
import schemathesis
from gateway import batch_lines, served
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from backburner.gateway.api import routes

_EXAMPLES = 12
"""Calls of each operation: some hundred in all, within seconds."""
_CALLS = [
    (path, method) for path, found in routes().openapi()["paths"].items() for method in found if method != "parameters"
]


@pytest.fixture(scope="module")
def gateway():
    with served() as made:
        with made.client() as client:
            file = client.post("/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch"}).json()
            wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            assert client.post("/v1/batches", json=wanted).status_code == 200
        yield made


@pytest.mark.parametrize(("path", "method"), _CALLS)
def test_no_call_that_the_document_allows_or_forbids_ends_in_a_bug(gateway, path, method):
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    operation = schema[path][method.upper()]

    @hypothesis.settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def fuzz(case):
        case.call_and_validate(
            headers={"Authorization": f"Bearer {gateway.secret}"},
            checks=[not_a_server_error, content_type_conformance, response_schema_conformance],
            timeout=30,
        )

    fuzz()
