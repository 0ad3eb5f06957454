"""Lists uploaded files and those that batches gave together, in order of time, without a list of both anywhere."""

import asyncio
from contextlib import aclosing

from backburner.gateway.batches.batch_store import BatchStore
from backburner.gateway.batches.results import BatchResults, ResultFile, ResultKind, files_of
from backburner.gateway.files.file_object import BATCH, BATCH_OUTPUT, FileObject, FilePage, is_file_id
from backburner.gateway.files.file_store import MAX_CONCURRENT_READS, FileStore
from backburner_schemas.errors import CallRefused, FileNotFound
from backburner_schemas.status import JobView

_MAX_PAGE_ENTRIES = 1000
"""Files of a page at most, whatever was asked for: each is an object to read. Pages say that there are more."""
_MAX_NAMES = 1_000_000
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
        most = min(limit, _MAX_PAGE_ENTRIES)
        last = _Place.of(after)
        names = await self._names(last, purpose, newest_first=newest_first, most=most)
        found, looked = list[FileObject](), 0
        while looked < len(names) and len(found) <= most:
            some = names[looked : looked + most]
            looked += len(some)
            found += await self._entries(some, last)
        return FilePage.of(found[:most], has_more=len(found) > most or looked < len(names))

    async def _names(self, last: "_Place | None", purpose: str | None, *, newest_first: bool, most: int) -> list[str]:
        """Ids of files and batches in order, from the place on; with the newest first just enough of them."""
        names = list[str]()
        begin = last.text if last is not None and newest_first else None
        # One more than asked for shows whether there are more; entries that are passed over may leave a page short.
        enough = most + 1 if newest_first else _MAX_NAMES
        if purpose in {None, BATCH}:
            async with aclosing(self._files.ids(after=None if begin is None else _FILE + begin)) as ids:
                async for file_id in ids:
                    names.append(file_id)
                    if len(names) == enough:
                        break
        if purpose in {None, BATCH_OUTPUT}:
            after = None if begin is None else _JOB + begin
            jobs, _ = await self._batches.names(after=after, limit=enough)
            names += jobs
            if last is not None and last.kind is not None:
                # Its other file may be behind it.
                names.append(_JOB + last.text)
        names = sorted(set(names), key=_place_of, reverse=not newest_first)
        if last is not None and not newest_first:
            names = [name for name in names if _place_of(name) <= last.text]
        return names

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
                return await self._given(views[name])

        found = await asyncio.gather(*(entries(name) for name in names))
        return [entry for some in found for entry in some if last is None or not last.covers(entry.id)]

    async def _given(self, view: JobView) -> list[FileObject]:
        """The result files of a batch."""
        ids, given = files_of(view), list[FileObject]()
        for kind in _KINDS:
            if kind in ids:
                file = ResultFile(view.manifest.id, kind)
                try:
                    given.append(await self._results.shown(file, await self._results.find(file)))
                except FileNotFound:
                    continue
        return given


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
