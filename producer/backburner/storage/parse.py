"""Parses stored JSON objects: an error names the object's key, instead of its fields."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from backburner_schemas.errors import StoredObjectBroken

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_stored(model: type[ModelT], key: str, data: bytes) -> ModelT:
    """The object at that key. Raises `StoredObjectBroken` if its bytes do not fit that model."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise StoredObjectBroken(
            f"the object {key} cannot be read as {model.__name__} ({what}); "
            "find out what wrote it, and restore or remove it"
        ) from error
