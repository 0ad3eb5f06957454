"""Requests of an input that were accepted and follow each other: what goes from checking to sending."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic_core import to_json

from backburner_schemas.job import Prefix
from backburner_schemas.request import BatchRequest


class Batch(Protocol):
    """Accepted requests, in order."""

    @property
    def pool(self) -> str | None:
        """The pool of all of them, if they travel as they stand in the input."""
        ...

    @property
    def end(self) -> Prefix | None:
        """The prefix of the input that ends with them, where an earlier reading of the same bytes found it."""
        ...

    def __len__(self) -> int: ...

    def data(self) -> bytes:
        """The input of the rolling hash: the canonical form of each, with a line's end."""
        ...

    def members(self) -> Sequence[bytes]:
        """What stands between the braces of each request's JSON object."""
        ...

    def pools(self) -> Sequence[str]:
        """The pool of each."""
        ...


@dataclass(frozen=True, slots=True)
class AlikeBatch:
    """Lines that all go to one pool, each with its own bytes for its request's JSON object."""

    texts: Sequence[bytes]
    pool: str
    canonical: Callable[[], bytes]
    """Makes what `data` returns."""
    end: Prefix | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def data(self) -> bytes:
        """See `Batch`."""
        return self.canonical()

    def members(self) -> Sequence[bytes]:
        """See `Batch`."""
        return [text[1:-1] for text in self.texts]

    def pools(self) -> Sequence[str]:
        """See `Batch`."""
        return [self.pool] * len(self.texts)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that was checked on its own, and can be sent."""

    line: int
    request: BatchRequest
    data: bytes
    """The request in one form, whatever form the line had: the input of the rolling hash."""
    pool: str

    @property
    def members(self) -> bytes:
        """What stands between the braces of the request's JSON object."""
        custom_id, url = to_json(self.request.custom_id), self.request.url.encode()
        # The data is a list of three values, of which the body is the last.
        body = self.data[len(custom_id) + len(url) + len('[,"",') : -1]
        return b'"custom_id":%b,"url":"%b","body":%b' % (custom_id, url, body)


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """Lines that were checked one by one, and travel in their canonical form."""

    accepted: Sequence[Accepted]
    end: Prefix | None = None

    @property
    def pool(self) -> None:
        """See `Batch`."""
        return

    def __len__(self) -> int:
        return len(self.accepted)

    def data(self) -> bytes:
        """See `Batch`."""
        return b"".join([b"%b\n" % one.data for one in self.accepted])

    def members(self) -> Sequence[bytes]:
        """See `Batch`."""
        return [one.members for one in self.accepted]

    def pools(self) -> Sequence[str]:
        """See `Batch`."""
        return [one.pool for one in self.accepted]
