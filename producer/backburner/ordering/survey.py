"""One reading of an input that is in the object store: what is wrong with it, and the index of what is not."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from itertools import compress
from typing import Any, NamedTuple

from pydantic_core import from_json

from backburner.inputs.batch import AlikeBatch, Batch, CheckedBatch
from backburner.inputs.findings import Findings, SkippedLine
from backburner.inputs.located_lines import LocatedLines, locate_lines
from backburner.inputs.validation import BATCH_LINES, Checker
from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import InputDigest
from backburner_schemas.errors import UnknownEndpoint
from backburner_schemas.request import Endpoint


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found in an input."""

    findings: Findings
    """What is wrong with it."""
    digest: InputDigest
    """Which input it is."""
    count: int
    """Requests that were accepted, and are in the index."""


async def survey(
    pieces: AsyncIterable[bytes],
    checker: Checker,
    index: OrderIndex,
    *,
    max_bytes: int,
    endpoint: Endpoint | None = None,
    report: Callable[[int], None] | None = None,
) -> Survey:
    """Read the input, check each of its lines, and add those that are accepted to the index.

    Where `endpoint` is given, a line that names another one is not accepted. `report` is called now and then with the
    number of lines that were read. Raises what the pieces raise, `PoolError` for too many pools, and `OSError` if the
    index cannot be kept.
    """
    findings, rolling, whole = Findings(), sha256(), _Hashed(pieces)
    async with aclosing(locate_lines(whole, max_bytes=max_bytes)) as blocks:
        async for block in blocks:
            for part in block.parts(BATCH_LINES):
                batch = await checker.accept(part.first, part.texts, findings, skip_blank=True)
                data, lines = batch.data(), [*_accepted(batch, part)]
                if endpoint is not None and (others := [line for line in lines if line.url != endpoint]):
                    for line in others:
                        findings.add(_named_another(line, endpoint))
                    kept = [line.url == endpoint for line in lines]
                    data = b"".join(compress(data.splitlines(keepends=True), kept))
                    lines = [*compress(lines, kept)]
                rolling.update(data)
                for line in lines:
                    index.add(line.offset, line.length, line.url, line.body, pool=line.pool, verbatim=line.verbatim)
            if report is not None:
                report(block.first + len(block.texts) - 1)
    return Survey(findings, InputDigest(whole.size, whole.digest(), rolling.digest()), index.count)


class _Line(NamedTuple):
    number: int
    custom_id: str
    offset: int
    length: int
    url: str
    body: Mapping[str, Any]
    pool: str
    verbatim: bool


def _accepted(batch: Batch, part: LocatedLines) -> Iterator[_Line]:
    """The lines of the batch, each with what it asks for."""
    if isinstance(batch, AlikeBatch):
        # All lines of the part are in it.
        for number, (text, offset) in enumerate(zip(part.texts, part.offsets, strict=True), part.first):
            found = from_json(text)
            yield _Line(
                number, found["custom_id"], offset, len(text), found["url"], found["body"], batch.pool, verbatim=True
            )
    elif isinstance(batch, CheckedBatch):
        for one in batch.accepted:
            at, request = one.line - part.first, one.request
            yield _Line(
                one.line,
                request.custom_id,
                part.offsets[at],
                len(part.texts[at]),
                request.url,
                request.body,
                one.pool,
                verbatim=False,
            )


def _named_another(line: _Line, endpoint: Endpoint) -> SkippedLine:
    error = UnknownEndpoint(f"url is {line.url}, and all requests of this batch are for {endpoint}", param="url")
    return SkippedLine.of(line.number, line.custom_id, error)


class _Hashed:
    """Pieces of an input as they come, with the hash over them."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self._hash = sha256()
        self.size = 0

    def digest(self) -> bytes:
        """Of all that came."""
        return self._hash.digest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self._hash.update(piece)
            self.size += len(piece)
            yield piece
