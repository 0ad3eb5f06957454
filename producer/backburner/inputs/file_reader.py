"""Reads a file, twice: the first time finds everything that is wrong with it, the second time what is sent."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

from backburner.inputs.batch import AlikeBatch, Batch
from backburner.inputs.fast_check import canonical_lines
from backburner.inputs.files import read_blocks
from backburner.inputs.findings import Findings, InvalidInput
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.first_pass import FirstPass, SurveyedBlock
from backburner.inputs.line_blocks import Block
from backburner.inputs.reader import InputReader
from backburner.inputs.validation import BATCH_LINES, Checker
from backburner_schemas.job import Prefix


class FileReader(InputReader):
    """Reads a file of lines."""

    def __init__(
        self,
        path: Path,
        checker: Checker,
        *,
        max_bytes: int,
        skip_invalid: bool,
        refuse: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(checker, skip_invalid=skip_invalid, refuse=refuse)
        self._path = path
        self._max_bytes = max_bytes
        self._first_pass = FirstPass()

    def close(self) -> None:
        """Remove what is kept on disk."""
        self._first_pass.close()

    async def survey(self, fingerprint: Fingerprint, report: Callable[[], None]) -> Prefix:
        """The first pass."""
        findings = Findings()
        blocks = read_blocks(self._path, max_bytes=self._max_bytes)
        async with aclosing(blocks):
            async for block in blocks:
                pools: set[str | None] = set()
                for first, texts in block.parts(BATCH_LINES):
                    batch = await self._checker.accept(first, texts, findings, skip_blank=True)
                    fingerprint.take_all(batch.data(), len(batch))
                    pools.add(batch.pool)
                pool = pools.pop() if len(pools) == 1 else None
                self._first_pass.add(SurveyedBlock(block.digest, fingerprint.prefix, pool))
                self.checked = block.first + len(block.texts) - 1
                report()
        if findings.total and not self._skip_invalid:
            raise InvalidInput.of(findings, accepted=fingerprint.count)
        if not fingerprint.count:
            self.findings = findings
            raise self.empty()
        return fingerprint.prefix

    async def batches(self) -> AsyncGenerator[Batch]:
        """The second pass. Raises `InvalidInput` if the file is not the one that the first pass saw."""
        surveyed = iter(self._first_pass)
        given = 0
        blocks = read_blocks(self._path, max_bytes=self._max_bytes)
        async with aclosing(blocks):
            async for block in blocks:
                found = next(surveyed, None)
                if found is None or found.digest != block.digest:
                    raise await self._turn_down(_changed())
                batch = await self._again(block, found)
                given += len(batch)
                if given != found.end.count:
                    raise await self._turn_down(_changed())
                if len(batch):
                    yield batch
        if next(surveyed, None) is not None:
            raise await self._turn_down(_changed())

    def ends_at(self, counts: Collection[int]) -> bool:
        """Whether a batch ends with each of these numbers of requests."""
        return self._first_pass.ends_at(counts)

    async def _again(self, block: Block, found: SurveyedBlock) -> Batch:
        """The batch of a block that the first pass found to be so."""
        if found.pool is not None:
            return AlikeBatch(
                block.texts, found.pool, partial(canonical_lines, block.texts, self._max_bytes), found.end
            )
        before = self.findings.total
        batch = await self._checker.check(block.lines, self.findings)
        if self.findings.total > before and not self._skip_invalid:
            raise await self._turn_down(InvalidInput.of(self.findings))
        return replace(batch, end=found.end)


def _changed() -> InvalidInput:
    return InvalidInput("the file changed while it was submitted; submit it again when it is complete")
