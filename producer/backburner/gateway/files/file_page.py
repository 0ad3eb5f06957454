"""Lists uploaded files and those that batches gave together, in order of time, without a list of both anywhere."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from backburner.gateway.batches.batch_store import BatchStore
from backburner.gateway.batches.results import BatchResults, ResultFile, ResultKind
from backburner.gateway.files.file_object import BATCH, BATCH_OUTPUT, FileObject, FilePage, is_file_id
from backburner.gateway.files.file_store import MAX_CONCURRENT_READS, FileStore
from backburner_schemas.errors import CallRefused

_MAX_PAGE_ENTRIES = 1000
"""Files of a page at most, whatever was asked for: each is an object to read. Pages say that there are more."""
_MAX_NAMES_AT_ONCE = 250
"""Names that are looked at together."""
_FILE, _JOB = "file-", "batch_"
_PLACE_CHARACTERS = 26
"""Of an id: its inverted time and what is random. So both kinds of ids have one order, newest first."""
_KINDS = (ResultKind.ERRORS, ResultKind.OUTPUT)
"""The files of one batch in the order of the list."""


class FileListing:
    """The list of one tenant's files. Raises `StoreError`."""

    def __init__(self, files: FileStore, batches: BatchStore, results: BatchResults) -> None:
        self._files = files
        self._batches = batches
        self._results = results

    async def page(self, *, limit: int, newest_first: bool, after: str | None, purpose: str | None) -> FilePage:
        """Up to so many files behind that one. Raises `CallRefused` for an `after` that is no file's id."""
        most, last, found = min(limit, _MAX_PAGE_ENTRIES), _Place.of(after), list[FileObject]()
        async with aclosing(self._names(last, purpose, newest_first=newest_first)) as names:
            # One more than asked for shows whether there are more; a name may stand for no file, or for two.
            while len(found) <= most and (some := await _next(names, min(most + 1, _MAX_NAMES_AT_ONCE))):
                found += await self._entries(some, last)
        return FilePage.of(found[:most], has_more=len(found) > most)

    async def _names(self, last: "_Place | None", purpose: str | None, *, newest_first: bool) -> AsyncGenerator[str]:
        """Ids of files and batches in order, from the place on."""
        begin = last.text if last is not None and newest_first else None
        sources = list[AsyncGenerator[str]]()
        if purpose in {None, BATCH}:
            sources.append(self._files.ids(after=None if begin is None else _FILE + begin))
        if purpose in {None, BATCH_OUTPUT}:
            sources.append(self._batches.ids(after=None if begin is None else _JOB + begin))
            if begin is not None and last is not None and last.kind is not None:
                # Its other file may be behind it.
                yield _JOB + begin
        async with aclosing(_merged(sources)) as names:
            if newest_first:
                async for name in names:
                    yield name
                return
            # Stores list in one direction.
            everything = [name async for name in names]
        for name in reversed(everything):
            if last is None or _place_of(name) <= last.text:
                yield name

    async def _entries(self, names: list[str], last: "_Place | None") -> list[FileObject]:
        """The files of these ids in the same order, without those that are gone."""
        stored = {
            file.id: file for file in await self._files.read_all(name for name in names if name.startswith(_FILE))
        }
        views = {
            view.manifest.id: view for view in await self._batches.views([one for one in names if one.startswith(_JOB)])
        }
        places = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def entries(name: str) -> list[FileObject]:
            if name in stored:
                return [FileObject.of(stored[name])]
            if name not in views:
                return []
            async with places:
                return await self._results.shown_all(views[name], _KINDS)

        found = await asyncio.gather(*(entries(name) for name in names))
        return [entry for some in found for entry in some if last is None or not last.covers(entry.id)]


class _Place:
    """Where the last page ended."""

    def __init__(self, text: str, kind: ResultKind | None) -> None:
        self.text = text
        self.kind = kind

    @classmethod
    def of(cls, after: str | None) -> "_Place | None":
        if after is None:
            return None
        result = ResultFile.parse(after)
        if result is None and not is_file_id(after):
            raise CallRefused("`after` must be the id of a file, as an earlier page has it", param="after")
        return cls(_place_of(after if result is None else result.job), None if result is None else result.kind)

    def covers(self, file_id: str) -> bool:
        """Whether that file is this place's own, or stands before it among the files of the same batch."""
        result = ResultFile.parse(file_id)
        if result is None:
            return self.kind is None and _place_of(file_id) == self.text
        return (
            self.kind is not None
            and _place_of(result.job) == self.text
            and _KINDS.index(result.kind) <= _KINDS.index(self.kind)
        )


def _place_of(name: str) -> str:
    return name[-_PLACE_CHARACTERS:]


async def _merged(sources: Sequence[AsyncGenerator[str]]) -> AsyncGenerator[str]:
    """What the sources give, which have one order each, in that order."""
    try:
        heads = [(name, source) for source in sources if (name := await anext(source, None)) is not None]
        while heads:
            first = min(heads, key=lambda head: _place_of(head[0]))
            yield first[0]
            heads.remove(first)
            if (name := await anext(first[1], None)) is not None:
                heads.append((name, first[1]))
    finally:
        for source in sources:
            await source.aclose()


async def _next(names: AsyncGenerator[str], count: int) -> list[str]:
    """So many of them, or what is left."""
    found = list[str]()
    while len(found) < count and (name := await anext(names, None)) is not None:
        found.append(name)
    return found
