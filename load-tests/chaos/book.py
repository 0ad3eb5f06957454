"""What the harness asked for: the truth with which the checker compares the store and the queue. Plain data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Expect(StrEnum):
    """How a request has to end."""

    ANSWER = "answer"
    """With the engine's answer to it."""
    REFUSED = "refused"
    """With an error record, code `invalid_request`."""
    POISON = "poison"
    """With a dead letter and an error record, code `poison`."""


@dataclass(slots=True)
class Asked:
    """One request."""

    custom_id: str
    url: str
    body: dict[str, Any]
    expect: Expect = Expect.ANSWER
    accepted: bool = False
    """Whether the queue acknowledged it; otherwise it may have it or not."""
    job: str | None = None
    """The key of its record, where the sender knows it."""
    index: int | str | None = None
    redriven: bool = False
    """Whether its dead letter was sent again, in a job of its own, so that the letter is gone."""

    @property
    def line(self) -> dict[str, Any]:
        """The request as a line of a batch file."""
        return {"custom_id": self.custom_id, "method": "POST", "url": self.url, "body": self.body}


class ToldFile(StrEnum):
    """The two files of a batch."""

    OUTPUT = "output_file_id"
    """Of the requests with a response."""
    ERRORS = "error_file_id"
    """Of those without one."""


@dataclass(frozen=True, slots=True)
class ToldLine:
    """A line of a batch's output or error file."""

    custom_id: str
    file: ToldFile
    status: int | None
    """HTTP's, of the response, which a failure has too."""
    body: Any
    """The response's body, or that of the failure."""
    error: Any = None
    """Of a request that never ran."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the gateway told of a batch once that had ended."""

    status: str
    counts: tuple[int, int, int]
    """Total, completed, failed."""
    lines: list[ToldLine]
    """Of both files."""


@dataclass(slots=True)
class Book:
    """Everything that was asked for, by how it was sent."""

    tenant: str
    prefix: str
    pool: str
    jobs: dict[str, list[Asked]] = field(default_factory=dict)
    """By job id, each in its own order."""
    singles: list[Asked] = field(default_factory=list)
    """With answer objects, each in a job of its own."""
    raw: list[Asked] = field(default_factory=list)
    """Plain batch lines from a producer without the SDK."""
    told: dict[str, Told] = field(default_factory=dict)
    """Of those of the jobs that are a gateway's batches, what the gateway told."""

    def everything(self) -> list[Asked]:
        """All of them."""
        return [*(asked for job in self.jobs.values() for asked in job), *self.singles, *self.raw]
