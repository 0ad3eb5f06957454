"""The wire forms as documents that other languages read: JSON Schema and AsyncAPI. Pure; `docs.py` writes them.

What pydantic cannot express is added here: that a message needs its version, and exactly one of two fields.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from backburner_schemas.envelope import MAX_ATTEMPTS, MAX_FAILURES, VERSION, Envelope
from backburner_schemas.names import Lane
from backburner_schemas.request import BatchRequest
from backburner_schemas.result import ResultRecord

Document = dict[str, Any]
FieldTexts = Mapping[str, Mapping[str, str]]
"""What each field is for: class name, then field name, to text."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

HEADERS: Document = {
    "type": "object",
    "description": "Delivery facts. Producers write none but traceparent; the others are believed on the lane `retry` "
    "alone, which only workers may write.",
    "properties": {
        "attempt": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": f"1 at the first delivery, one more at each retry; cut to {MAX_ATTEMPTS}.",
        },
        "suspect": {"type": "string", "const": "1", "description": "The request was in flight when an engine died."},
        "among": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "Of a suspect: how many requests the engine's death was among; it is tried with some "
            "of them, and alone without this.",
        },
        "not_before": {
            "type": "string",
            "description": "Unix seconds before which a retry is not due; it is held "
            "back for 60 seconds at most from when it is first seen.",
        },
        "traceparent": {"type": "string", "maxLength": 256, "description": "W3C trace context of the producer."},
        "failed_at": {
            "type": "string",
            "maxLength": 2048,
            "description": f"Where earlier attempts failed: up to {MAX_FAILURES} of `group/release`, percent-encoded, "
            "the latest last, with commas in between.",
        },
    },
}


def envelope_schema(texts: FieldTexts) -> Document:
    """JSON Schema of an envelope, as producers write it."""
    return _standing_alone(Envelope, texts)


def result_schema(texts: FieldTexts) -> Document:
    """JSON Schema of a result record, as it is stored in segments and answers."""
    return _standing_alone(ResultRecord, texts)


def asyncapi(texts: FieldTexts) -> Document:
    """AsyncAPI 3 document of the topics: which messages they carry, with which headers."""
    schemas = _schemas([Envelope, BatchRequest, ResultRecord], texts, "#/components/schemas/")
    messages = {
        "envelope": _message("An envelope: a request with its address.", "Envelope"),
        "batchLine": _message("A plain OpenAI batch line; its address is where the broker has it.", "BatchRequest"),
    }
    producers = [lane for lane in Lane if lane is not Lane.RETRY]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Backburner",
            "version": f"{VERSION}.0.0",
            "description": "Requests on their way to warm models. Results go to object storage: see ResultRecord.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {lane.value: _channel(lane) for lane in Lane},
        "operations": {
            **{
                f"submit{lane.capitalize()}": {
                    "action": "send",
                    "channel": {"$ref": f"#/channels/{lane}"},
                    "summary": f"Put a request onto the {lane} lane.",
                }
                for lane in producers
            },
            **{
                f"work{lane.capitalize()}": {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{lane}"},
                    "summary": f"A worker takes a request from the {lane} lane.",
                }
                for lane in Lane
            },
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _channel(lane: Lane) -> Document:
    kinds = ["envelope"] if lane is Lane.RETRY else ["envelope", "batchLine"]
    return {
        "address": f"{{prefix}}.{{pool}}.{lane}",
        "description": f"Kafka topic of the {lane} lane. The SQS queue is {{prefix}}-{{pool}}-{lane}.",
        "parameters": {
            "prefix": {"description": "BACKBURNER_PREFIX", "default": "backburner"},
            "pool": {"description": "The pool of the model, from `backburner topics ensure --pool MODEL`."},
        },
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
    }


def _message(summary: str, schema: str) -> Document:
    return {
        "summary": summary,
        "contentType": "application/json",
        "headers": HEADERS,
        "payload": {"$ref": f"#/components/schemas/{schema}"},
    }


def _standing_alone(model: type[BaseModel], texts: FieldTexts) -> Document:
    schemas = _schemas([model], texts, "#/$defs/")
    found = schemas.pop(model.__name__)
    return {"$schema": _DIALECT, **found, "$defs": schemas}


def _schemas(models: list[type[BaseModel]], texts: FieldTexts, place: str) -> dict[str, Document]:
    """The schemas of the models and of all that they refer to, by class name."""
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=place + "{model}")
    schemas: dict[str, Document] = found["$defs"]
    for name, schema in schemas.items():
        for field, text in texts.get(name, {}).items():
            if field in schema.get("properties", {}):
                schema["properties"][field].setdefault("description", text)
    if Envelope.__name__ in schemas:
        envelope = schemas[Envelope.__name__]
        envelope["required"] = ["v", *envelope["required"]]
        envelope["properties"]["v"] |= {"minimum": VERSION - 1, "maximum": VERSION}
        envelope["oneOf"] = _exactly_one("body", "body_ref")
    if ResultRecord.__name__ in schemas:
        schemas[ResultRecord.__name__]["oneOf"] = _exactly_one("response", "error")
    return schemas


def _exactly_one(one: str, other: str) -> list[Document]:
    def there(name: str) -> Document:
        return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}

    return [there(one), there(other)]
