"""Reads an iterable, which is checked as it goes."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Iterable, Sequence, Sized
from contextlib import aclosing

from backburner.inputs.batch import Batch
from backburner.inputs.findings import InvalidInput
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.items import Item, read_items
from backburner.inputs.line_blocks import Line
from backburner.inputs.reader import InputReader
from backburner.inputs.validation import Checker


class ItemReader(InputReader):
    """Reads the items of an iterable, plain or async."""

    def __init__(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        checker: Checker,
        *,
        skip_invalid: bool,
        refuse: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(checker, skip_invalid=skip_invalid, refuse=refuse)
        self._items = items

    async def survey(self, fingerprint: Fingerprint, report: Callable[[], None]) -> None:
        """Nothing: an iterable may yield its items only once."""

    async def batches(self) -> AsyncGenerator[Batch]:
        """What the iterable yields. Raises `InvalidInput` at the first bad item, unless they are skipped.

        Of one that has a length, such as a list, the error counts all that is wrong to its end.
        """
        accepted, refused = 0, False
        chunks = read_items(self._items)
        async with aclosing(chunks):
            async for chunk in chunks:
                batch = await self._batch(chunk)
                self.checked = chunk[-1][0]
                accepted += len(batch)
                refused = bool(self.findings.total) and not self._skip_invalid
                if refused and not isinstance(self._items, Sized):
                    break
                if len(batch) and not refused:
                    yield batch
        if refused:
            raise await self._turn_down(InvalidInput.of(self.findings, "item", accepted=accepted))

    async def _batch(self, chunk: Sequence[Line]) -> Batch:
        first, last = chunk[0][0], chunk[-1][0]
        if last - first + 1 == len(chunk):
            return await self._checker.accept(first, [text for _, text in chunk], self.findings)
        # Blank ones were left out.
        return await self._checker.check(chunk, self.findings)

    def ends_at(self, counts: Collection[int]) -> bool:
        """Only where there is nothing to know."""
        return not counts
