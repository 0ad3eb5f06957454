"""Checks the lines of an input: which are accepted, for which pool, and what is wrong with the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic_core import from_json, to_json

from backburner.inputs.chunks import Line
from backburner.inputs.duplicate_ids import SeenIds
from backburner.inputs.fast_check import fast_check
from backburner.inputs.findings import SkippedLine
from backburner_schemas.errors import BackburnerError, DuplicateCustomId, PoolNotFound, RequestRefused
from backburner_schemas.request import MAX_CUSTOM_ID_CHARACTERS, BatchRequest, check_size, parse_request


class Router(Protocol):
    """Finds the pool of a model."""

    async def pool_for(self, model: str) -> str:
        """The pool that serves the model. Raises `PoolNotFound`."""
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that can be sent."""

    line: int
    request: BatchRequest
    data: bytes
    """The request in one form, whatever form the line had: what the rolling hash is made of."""
    pool: str

    @property
    def members(self) -> bytes:
        """What stands between the braces of the request's JSON object."""
        custom_id, url = to_json(self.request.custom_id), self.request.url.encode()
        # The data is a list of three values, of which the body is the last.
        body = self.data[len(custom_id) + len(url) + len('[,"",') : -1]
        return b'"custom_id":%b,"url":"%b","body":%b' % (custom_id, url, body)


@dataclass(frozen=True, slots=True)
class AcceptedAlike:
    """Lines that can all be sent, to the same pool, each with its own bytes for its request's JSON object."""

    pool: str
    data: bytes
    """What the rolling hash is made of, of all of them."""


class Checker:
    """Checks an input from its first line to its last, in chunks. Use it for one pass, and close it.

    With `pool` every line goes there; otherwise `router` finds each line's pool by its model. With neither, lines
    are not routed, which is enough to count them.
    """

    def __init__(self, *, max_bytes: int, router: Router | None = None, pool: str | None = None) -> None:
        self._max_bytes = max_bytes
        self._router = router
        self._pool = pool
        self._pools: dict[str, str] = {}
        self._seen = SeenIds()

    async def check(self, chunk: Sequence[Line]) -> tuple[list[Accepted], list[SkippedLine]]:
        """The chunk's lines that are accepted, and what is wrong with the others, both in order."""
        findings: list[SkippedLine] = []
        parsed: list[tuple[int, BatchRequest, bytes]] = []
        for line, text in chunk:
            try:
                if isinstance(text, BackburnerError):
                    raise text
                request = parse_request(text, max_bytes=self._max_bytes)
                data = canonical(request)
                # It is sent in this form, in which a number such as 1e15 is longer.
                check_size(data, self._max_bytes)
                parsed.append((line, request, data))
            except RequestRefused as error:
                findings.append(SkippedLine.of(line, _custom_id(text), error))
        repeated = self._seen.add([(request.custom_id, line) for line, request, _ in parsed])
        accepted: list[Accepted] = []
        for line, request, data in parsed:
            first = repeated.get(line)
            if first is not None:
                repeat = DuplicateCustomId(
                    f"custom_id {request.custom_id!r} was used before, in line {first}; make each one unique",
                    param="custom_id",
                )
                findings.append(SkippedLine.of(line, request.custom_id, repeat))
                continue
            try:
                pool = self._pools.get(request.model) or await self._route(request.model)
            except PoolNotFound as error:
                findings.append(SkippedLine.of(line, request.custom_id, error))
                continue
            accepted.append(Accepted(line, request, data, pool))
        findings.sort(key=lambda finding: finding.line)
        return accepted, findings

    async def check_alike(self, first: int, lines: Sequence[bytes]) -> AcceptedAlike | None:
        """Check lines that follow each other from number `first` on, fast. None where `check` has to read them."""
        if not lines or (found := fast_check(lines, self._max_bytes)) is None:
            return None
        try:
            pools = {self._pools.get(model) or await self._route(model) for model in found.models}
        except PoolNotFound:
            return None
        # Lines that are added here are added once more by `check`, which finds them at the same lines.
        if len(pools) > 1 or self._seen.add_all(found.custom_ids, first):
            return None
        return AcceptedAlike(pools.pop(), found.data)

    async def _route(self, model: str) -> str:
        if self._pool is not None:
            return self._pool
        if self._router is None:
            return ""
        pool = self._pools[model] = await self._router.pool_for(model)
        return pool

    def close(self) -> None:
        """Remove what was spilled to disk."""
        self._seen.close()


def canonical(request: BatchRequest) -> bytes:
    """The request as bytes that do not depend on how its line was spaced."""
    return to_json((request.custom_id, request.url, request.body), inf_nan_mode="null")


def _custom_id(text: bytes | BackburnerError) -> str | None:
    """The custom_id of a refused line, where it can be read."""
    if isinstance(text, BackburnerError):
        return None
    try:
        found = from_json(text)
    except ValueError:
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS else None
