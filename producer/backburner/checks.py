"""Judges the lines of an input: which are accepted, for which pool, and what is wrong with the others."""

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from pydantic_core import from_json

from backburner.duplicates import SeenIds
from backburner.findings import SkippedLine
from backburner.inputs import Line
from backburner.plain import Sendable, plain, sendable
from backburner_schemas.errors import BackburnerError, DuplicateCustomId, PoolNotFound, RequestRefused
from backburner_schemas.request import MAX_CUSTOM_ID, check_size, parse_request


class Router(Protocol):
    """Finds the pool of a model."""

    async def pool_for(self, model: str) -> str:
        """The pool that takes the model. Raises `PoolNotFound`."""
        ...


class Accepted(NamedTuple):
    """A line that can be sent."""

    line: int
    pool: str
    request: Sendable

    @property
    def data(self) -> bytes:
        """What the rolling hash is made of."""
        return self.request.data


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
        parsed: list[tuple[int, Sendable]] = []
        for line, text in chunk:
            request = plain(text, self._max_bytes) if isinstance(text, bytes) else None
            if request is None:
                try:
                    request = self._judge(text)
                except RequestRefused as error:
                    findings.append(SkippedLine.of(line, _custom_id(text), error))
                    continue
            parsed.append((line, request))
        repeated = self._seen.add([(request.custom_id, line) for line, request in parsed])
        accepted: list[Accepted] = []
        for line, request in parsed:
            if repeated and (first := repeated.get(line)) is not None:
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
            accepted.append(Accepted(line, pool, request))
        findings.sort(key=lambda finding: finding.line)
        return accepted, findings

    def _judge(self, text: bytes | BackburnerError) -> Sendable:
        """The full check of one line. Raises the `RequestRefused` that tells what is wrong with it."""
        if isinstance(text, BackburnerError):
            raise text
        request = sendable(parse_request(text, max_bytes=self._max_bytes))
        # It travels in this form, in which a number such as 1e15 is longer.
        check_size(request.data, self._max_bytes)
        return request

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _custom_id(text: bytes | BackburnerError) -> str | None:
    """The custom_id of a line that was refused, where it can be told."""
    if isinstance(text, BackburnerError):
        return None
    try:
        found = from_json(text)
    except ValueError:
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID else None
