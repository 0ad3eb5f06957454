"""Custom resources held against their definitions."""

from typing import Any

import jsonschema


def strict(schema: Any) -> Any:
    """The schema with no other keys than it names, as the API server would take away what it does not know."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    closed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        result["type"] = [schema["type"], "null"]
    return result


def errors_in(one: dict[str, Any], definitions: dict[tuple[str, str], Any]) -> list[str]:
    """What is wrong with a custom resource."""
    schema = definitions[one["apiVersion"], one["kind"]]
    # The outermost map has apiVersion, kind and metadata, which a definition need not repeat.
    outer = {**schema, "properties": {**schema["properties"], "apiVersion": {}, "kind": {}, "metadata": {}}}
    name = f"{one['kind']} {one['metadata']['name']}"
    errors = jsonschema.Draft7Validator(outer).iter_errors(one)
    return [f"{name}: {error.json_path}: {error.message}" for error in errors]
