"""The exported schemas say of the golden files, and of what a worker refuses, what the code says of them."""

import json
from pathlib import Path

import jsonschema
import pytest
import wire_documents

from backburner_schemas import routing
from backburner_schemas.codec import Origin, Refused, Rules, Unaddressed, decode

FILES = Path(__file__).parent / "files"
ENVELOPES = [*sorted(path.name for path in FILES.glob("envelope*.json")), "line-as-envelope.json"]
RESULTS = [*sorted(path.name for path in FILES.glob("result*.json")), "answer.json"]


def golden(name):
    return (FILES / name).read_bytes()


def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ENVELOPES)
def test_envelopes_satisfy_the_exported_schema(name):
    validator(wire_documents.envelope_schema({})).validate(json.loads(golden(name)))


@pytest.mark.parametrize("name", RESULTS)
def test_results_satisfy_the_exported_schema(name):
    validator(wire_documents.result_schema({})).validate(json.loads(golden(name)))


def test_a_segments_lines_satisfy_the_schema_of_results():
    check = validator(wire_documents.result_schema({}))
    for line in golden("segment.jsonl").splitlines():
        check.validate(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [
        {"v": None},
        {"v": 2},
        {"tenant": "a/b"},
        {"job": "a..b"},
        {"index": -1},
        {"index": "a/b"},
        {"custom_id": ""},
        {"url": "/v1/images"},
        {"body": None},
        {"body_ref": "tenants/acme/x"},
        {"deadline": "soon"},
        {"answer": "fax"},
    ],
)
def test_schema_and_worker_refuse_the_same_envelopes(change):
    fields = json.loads(golden("envelope.json")) | change
    assert not validator(wire_documents.envelope_schema({})).is_valid(fields)
    assert isinstance(decode(json.dumps(fields).encode(), Origin("q", "0-0", 0.0), Rules()), (Refused, Unaddressed))


@pytest.mark.parametrize("change", [{"error": {"code": "x", "message": "y"}}, {"response": None}, {"id": 7}])
def test_the_schema_of_results_refuses_what_no_record_is(change):
    fields = json.loads(golden("result-ok.json")) | change
    assert not validator(wire_documents.result_schema({})).is_valid(fields)


def test_the_asyncapi_document_is_closed_and_describes_every_lane():
    document = wire_documents.asyncapi({})
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert document["asyncapi"] == "3.0.0"
    topics = {channel["address"].format(prefix="backburner", pool="fake") for channel in document["channels"].values()}
    assert topics == set(routing.topics("backburner", "fake"))
    assert {one["channel"]["$ref"] for one in document["operations"].values()} == {
        f"#/channels/{lane}" for lane in document["channels"]
    }


def test_the_headers_satisfy_their_schema():
    for name in ("headers.json", "headers-suspect.json"):
        validator(wire_documents.HEADERS).validate(dict(json.loads(golden(name))))
