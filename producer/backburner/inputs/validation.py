"""Checks the lines of an input: which are accepted, for which pool, and what is wrong with the others."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol, cast

from pydantic_core import from_json, to_json

from backburner.inputs.batch import Accepted, AlikeBatch, Batch, CheckedBatch
from backburner.inputs.duplicate_ids import SeenIds
from backburner.inputs.fast_check import fast_check
from backburner.inputs.findings import Findings, SkippedLine
from backburner.inputs.line_blocks import Line, is_blank
from backburner_schemas.errors import BackburnerError, BodyTooComplex, DuplicateCustomId, PoolNotFound, RequestRefused
from backburner_schemas.job import MAX_UNROUTED_MODELS
from backburner_schemas.request import (
    DEFAULT_MAX_BODY_BYTES,
    MAX_CUSTOM_ID_CHARACTERS,
    BatchRequest,
    check_parsed_size,
    check_size,
    parse_request,
)

BATCH_LINES = 512
"""Lines that are checked before the event loop may turn."""
_MAX_NOTED_MODELS = 1000
"""Models of accepted lines that are noted; a file of a million of them must not fill the memory."""


class Router(Protocol):
    """Finds the pool of a model."""

    async def pool_for(self, model: str) -> str:
        """The pool that serves the model. Raises `PoolNotFound`."""
        ...


class Checker:
    """Checks an input from its first line to its last, in chunks. Use it for one pass, and close it.

    With `pool` every line goes there; otherwise `router` finds each line's pool by its model. With neither, lines
    are not routed, which is enough to count them. With `model` each request is one to that model, whatever it names.
    """

    def __init__(
        self, *, max_bytes: int, router: Router | None = None, pool: str | None = None, model: str | None = None
    ) -> None:
        self._max_bytes = max_bytes
        self._router = router
        self._pool = pool
        self._model = model
        self._pools: dict[str, str] = {}
        self._unrouted: dict[str, str] = {}
        """The models without a pool, and why."""
        self._unrouted_left_out = False
        self._models: set[str] = set()
        self._seen = SeenIds()

    @property
    def models(self) -> frozenset[str]:
        """The models that accepted lines name, but for those beyond the first thousand."""
        return frozenset(self._models)

    @property
    def unrouted(self) -> frozenset[str] | None:
        """The models that lines were refused for, since no pool serves them. None if they are too many to be noted."""
        return None if self._unrouted_left_out else frozenset(self._unrouted)

    async def accept(
        self, first: int, texts: Sequence[bytes | BackburnerError], findings: Findings, *, skip_blank: bool = False
    ) -> Batch:
        """The batch of lines that follow each other from number `first` on; adds what is wrong with any to `findings`.

        Fast where all of them are alike.
        """
        # Of what is no bytes, the fast check is not sure.
        alike = await self.check_alike(first, cast("Sequence[bytes]", texts))
        if alike is not None:
            await asyncio.sleep(0)
            return alike
        lines = enumerate(texts, first)
        return await self.check([(n, text) for n, text in lines if not (skip_blank and is_blank(text))], findings)

    async def check(self, lines: Sequence[Line], findings: Findings) -> CheckedBatch:
        """The same, for lines that may have gaps between them: each is looked at on its own."""
        accepted: list[Accepted] = []
        for start in range(0, len(lines), BATCH_LINES):
            good, bad = await self._check(lines[start : start + BATCH_LINES])
            accepted += good
            for finding in bad:
                findings.add(finding)
            await asyncio.sleep(0)
        return CheckedBatch(accepted)

    async def check_alike(self, first: int, texts: Sequence[bytes]) -> AlikeBatch | None:
        """Lines that follow each other from number `first` on, where all go to one pool as they stand.

        None where `check` has to read them.
        """
        # With another model they do not go as they stand.
        if self._model is not None or not texts or (found := fast_check(texts, self._max_bytes)) is None:
            return None
        try:
            pools = {self._pools.get(model) or await self._route(model) for model in found.models}
        except PoolNotFound:
            return None
        # Lines that are added here are added once more by `check`, which finds them at the same lines.
        if len(pools) > 1 or self._seen.add_all(found.custom_ids, first):
            return None
        for model in found.models:
            self._note(model)
        return AlikeBatch(texts, pools.pop(), partial(bytes, found.data))

    async def _check(self, lines: Sequence[Line]) -> tuple[list[Accepted], list[SkippedLine]]:
        findings: list[SkippedLine] = []
        parsed: list[tuple[int, BatchRequest, bytes]] = []
        for line, text in lines:
            try:
                if isinstance(text, BackburnerError):
                    raise text
                request = parse_request(text, max_bytes=self._max_bytes, model=self._model)
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
            self._note(request.model)
            accepted.append(Accepted(line, request, data, pool))
        findings.sort(key=lambda finding: finding.line)
        return accepted, findings

    async def _route(self, model: str) -> str:
        if self._pool is not None:
            return self._pool
        if self._router is None:
            return ""
        if (reason := self._unrouted.get(model)) is not None:
            # Whatever comes meanwhile: one input is judged by the same routes from its first line to its last.
            raise PoolNotFound(reason, param="model")
        try:
            pool = self._pools[model] = await self._router.pool_for(model)
        except PoolNotFound as error:
            if len(self._unrouted) < MAX_UNROUTED_MODELS:
                self._unrouted[model] = error.message
            else:
                self._unrouted_left_out = True
            raise
        return pool

    def _note(self, model: str) -> None:
        if len(self._models) < _MAX_NOTED_MODELS:
            self._models.add(model)

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
        check_parsed_size(text, DEFAULT_MAX_BODY_BYTES)
        found = from_json(text)
    except (ValueError, BodyTooComplex):
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS else None
