"""The envelope: a request on the wire, which is the request plus its address. Delivery facts travel in headers."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from backburner_schemas.names import MAX_INDEX, is_index, is_name
from backburner_schemas.request import CustomId, Endpoint

VERSION = 1
"""The envelope version that this code writes; it reads this one and the one before."""


class AnswerMode(StrEnum):
    """Where a result goes."""

    SEGMENT = "segment"
    """Into a segment, with many others: what jobs use."""
    OBJECT = "object"
    """Into an object of its own, which one GET reads: what single requests use."""


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError("must match [A-Za-z0-9][A-Za-z0-9._-]{0,254} and hold no '..'")
    return value


def _index(value: int | str) -> int | str:
    if not is_index(value):
        raise ValueError("must be an integer from 0, or match [A-Za-z0-9][A-Za-z0-9._-]{0,63} without '..'")
    return value


Name = Annotated[
    StrictStr,
    AfterValidator(_name),
    Field(json_schema_extra={"pattern": r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,254}$"}),
]
Index = Annotated[
    StrictInt | StrictStr,
    AfterValidator(_index),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_INDEX},
                {"type": "string", "pattern": r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
            ]
        }
    ),
]

MAX_UNIX_SECONDS = 253_402_300_799.0
"""The last second of the year 9999, in Unix seconds: what calendars can still show."""

UnixSeconds = Annotated[float, Field(strict=True, ge=0, le=MAX_UNIX_SECONDS, allow_inf_nan=False)]


@dataclass(slots=True, unsafe_hash=True)  # a value; frozen, it would cost three times as much to create
class Address:
    """Where a request belongs and where its outcome goes. `custom_id` is null where the message had none.

    Never changed.
    """

    tenant: str
    job: str
    index: int | str
    custom_id: str | None


class Envelope(BaseModel):
    """A request with its address, as a JSON value that any client can write. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: StrictInt = VERSION
    tenant: Name
    job: Name
    index: Index
    """Counts the accepted requests of a job from 0 without gaps; a string in streams."""
    custom_id: CustomId
    url: Endpoint
    body: dict[str, Any] | None = None
    body_ref: StrictStr | None = None
    """Key of a body that was too large for the broker, under the envelope's own tenant and job."""
    deadline: UnixSeconds | None = None
    """Unix seconds; after it the request is not started."""
    answer: AnswerMode = AnswerMode.SEGMENT
    enqueued_at: UnixSeconds = 0.0
    """Unix seconds at which the producer created the envelope."""

    @model_validator(mode="after")
    def _one_body(self) -> "Envelope":
        if (self.body is None) == (self.body_ref is None):
            raise ValueError("needs either body or body_ref")
        return self

    @cached_property
    def address(self) -> Address:
        """The envelope's address."""
        return Address(self.tenant, self.job, self.index, self.custom_id)


MAX_ATTEMPTS = 100
"""Bound on the `attempt` that a header may claim."""
MAX_AMONG_COUNT = 65_536
"""Bound on the requests that a header may claim a death was among."""
MAX_FAILURES = 8
"""Failures whose place is kept; of more, the latest."""
_MAX_PLACE_CHARACTERS = 160
_PLACE = re.compile(r"[A-Za-z0-9._~%-]+/[A-Za-z0-9._~%-]*")


def place_of(group: str, release: str | None) -> str:
    """Where an attempt failed, as `group/release`, percent-encoded as parts of a URL are; release may be empty."""
    return f"{quote(group, safe='')}/{quote(release or '', safe='')}"


def is_place(text: str) -> bool:
    """Whether it is what `place_of` makes, and no longer than that should be."""
    return len(text) <= _MAX_PLACE_CHARACTERS and _PLACE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """What is known of this delivery beyond the request itself; carried in headers or message attributes."""

    attempt: int = 1
    """1 at the first delivery, one more at each retry."""
    suspect: bool = False
    """Whether the request was in flight when an engine died."""
    not_before: float | None = None
    """Unix seconds before which the retry is not due."""
    traceparent: str | None = None
    """W3C trace context of the producer."""
    failed_at: tuple[str, ...] = ()
    """Where earlier attempts failed, as `place_of` says it, the latest last; at most 8."""
    among: int = 0
    """Of a suspect, how many requests the death was among that made it one; 0 where that is not known."""

    def failed(self, group: str, release: str | None) -> "DeliveryFacts":
        """The same after an attempt that failed there."""
        place = place_of(group, release)
        return replace(self, failed_at=(*self.failed_at, place)[-MAX_FAILURES:]) if is_place(place) else self
