"""Reads what is submitted into batches that are ready to be sent.

A file is read twice: the first time finds everything that is wrong with it, the second time what is sent. An iterable
is checked as it goes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from backburner.inputs.batch import Batch, joined
from backburner.inputs.chunks import Item, Line, read_blocks, read_items
from backburner.inputs.fast_check import fast_check
from backburner.inputs.findings import MAX_KEPT_SKIPPED_LINES, Findings, InvalidInput
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.first_pass import FirstPass, SurveyedBlock
from backburner.inputs.line_blocks import Block
from backburner.inputs.validation import Accepted, Checker
from backburner_schemas.job import Prefix

_BATCH_LINES = 512
"""Lines that are checked before the loop may turn."""


class InputReader:
    """One reading of an input. Close it, to remove what it keeps on disk."""

    def __init__(
        self,
        checker: Checker,
        *,
        max_bytes: int,
        skip_invalid: bool,
        refuse: Callable[[], Awaitable[None]],
    ) -> None:
        """`refuse` is called before an input of which a part was yielded is reported as invalid."""
        self._checker = checker
        self._max_bytes = max_bytes
        self._skip_invalid = skip_invalid
        self._refuse = refuse
        self._first_pass = FirstPass()
        self.findings = Findings(MAX_KEPT_SKIPPED_LINES)
        """What is wrong with the lines that are left out."""
        self.checked = 0
        """Lines of a file that the first pass has read, or items."""

    def close(self) -> None:
        """Remove what is on disk."""
        self._first_pass.close()

    async def survey(self, path: Path, fingerprint: Fingerprint, report: Callable[[], None]) -> Prefix:
        """The file's first pass: raises `InvalidInput` with all that is wrong, or returns what the second will yield.

        `report` is called after each block.
        """
        findings = Findings()
        blocks = read_blocks(path, max_bytes=self._max_bytes)
        async with aclosing(blocks):
            async for block in blocks:
                pool = await self._survey(block, fingerprint, findings)
                self._first_pass.add(SurveyedBlock(block.digest, fingerprint.prefix, pool))
                self.checked = block.first + len(block.texts) - 1
                report()
        if findings.total and not self._skip_invalid:
            raise InvalidInput.of(findings)
        if not fingerprint.count:
            self.findings = findings
            raise self.empty()
        return fingerprint.prefix

    async def of_file(self, path: Path) -> AsyncGenerator[Batch]:
        """The file's second pass. Raises `InvalidInput` if the file is not the one that the first pass saw."""
        surveyed = iter(self._first_pass)
        given = 0
        blocks = read_blocks(path, max_bytes=self._max_bytes)
        async with aclosing(blocks):
            async for block in blocks:
                found = next(surveyed, None)
                if found is None or found.digest != block.digest:
                    await self._refuse()
                    raise _changed()
                if found.pool is not None:
                    batch = self._unchanged(block.texts, found, found.pool)
                else:
                    batch = Batch.of(await self._checked(block.lines), found.end)
                given += len(batch)
                if given != found.end.count:
                    await self._refuse()
                    raise _changed()
                if len(batch):
                    yield batch
        if next(surveyed, None) is not None:
            await self._refuse()
            raise _changed()

    async def of_items(self, items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Batch]:
        """What an iterable yields. Raises `InvalidInput` at the first bad item, unless they are skipped."""
        chunks = read_items(items)
        async with aclosing(chunks):
            async for chunk in chunks:
                lines = [text for _, text in chunk if isinstance(text, bytes)]
                alike = await self._checker.check_alike(chunk[0][0], lines) if len(lines) == len(chunk) else None
                if alike is not None:
                    self.checked = chunk[-1][0]
                    yield Batch.alike(lines, alike.pool, partial(bytes, alike.data))
                elif accepted := await self._checked(chunk, "item"):
                    yield Batch.of(accepted)

    def ends_at(self, counts: Collection[int]) -> bool:
        """Whether a batch of the file ends with each of these numbers of requests."""
        return self._first_pass.ends_at(counts)

    def empty(self) -> InvalidInput:
        """The error for an input without requests."""
        if self.findings.total:
            return InvalidInput.of(self.findings)
        return InvalidInput("the input holds no request; it needs at least one line")

    async def _survey(self, block: Block, fingerprint: Fingerprint, findings: Findings) -> str | None:
        """Check a block's lines for the first time. Returns the pool to which all of them go unchanged, if they do."""
        pools: set[str | None] = set()
        for start in range(0, len(block.texts), _BATCH_LINES):
            texts = block.texts[start : start + _BATCH_LINES]
            alike = await self._checker.check_alike(block.first + start, texts)
            if alike is not None:
                fingerprint.take_all(alike.data, len(texts))
                pools.add(alike.pool)
            else:
                lines = list(enumerate(texts, block.first + start))
                accepted = await self._check([(number, text) for number, text in lines if text.strip()], findings)
                fingerprint.take_all(joined(accepted), len(accepted))
                pools.add(None)
            await asyncio.sleep(0)
        return pools.pop() if len(pools) == 1 else None

    def _unchanged(self, texts: Sequence[bytes], found: SurveyedBlock, pool: str) -> Batch:
        def data() -> bytes:
            again = fast_check(texts, self._max_bytes)
            assert again is not None
            return again.data

        return Batch.alike(texts, pool, data, found.end)

    async def _checked(self, lines: Sequence[Line], what: str = "line") -> list[Accepted]:
        before = self.findings.total
        accepted = await self._check(lines, self.findings)
        if lines:
            self.checked = max(self.checked, lines[-1][0])
        if self.findings.total > before and not self._skip_invalid:
            # The good ones before it go the same way: their job is cancelled.
            await self._refuse()
            raise InvalidInput.of(self.findings, what)
        return accepted

    async def _check(self, lines: Sequence[Line], findings: Findings) -> list[Accepted]:
        found: list[Accepted] = []
        for start in range(0, len(lines), _BATCH_LINES):
            accepted, bad = await self._checker.check(lines[start : start + _BATCH_LINES])
            found += accepted
            for finding in bad:
                findings.add(finding)
            await asyncio.sleep(0)
        return found


def _changed() -> InvalidInput:
    return InvalidInput("the file changed while it was submitted; submit it again when it is complete")
