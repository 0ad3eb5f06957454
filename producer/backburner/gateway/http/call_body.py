"""What the JSON bodies of calls have in common."""

from pydantic import BaseModel, ConfigDict, model_validator

from backburner_schemas.request import few

_MAX_FIELDS_COUNT = 100


class CallBody(BaseModel):
    """The body of a call: fields that it does not have are refused by their names, very many by their number."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        return few(value, _MAX_FIELDS_COUNT)
