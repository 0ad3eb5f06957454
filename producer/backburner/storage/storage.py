"""The one object-store adapter. Every other part sees keys and bytes; only this file knows which store there is."""

import asyncio
import atexit
import copy
import math
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
from obstore.store import LocalStore, MemoryStore, ObjectStore

from backburner.availability import Availability
from backburner.logs import get_logger
from backburner.settings import Settings
from backburner.settings.addresses import check_no_user, shown
from backburner.storage.availability import StorageAvailability
from backburner.storage.clock import OwnClock, StoreClock
from backburner.storage.errors import ForeignKey, Missing, ObjectReplaced, ObjectTooLarge, certificate_fault, translated
from backburner.storage.native_calls import NativeCalls
from backburner.storage.provider import Provider
from backburner.storage.remote import open_remote
from backburner.storage.writer import PART_BYTES, PARTS_UNDER_WAY_COUNT, ObjectWriter
from backburner_schemas.errors import SettingsError, StoreDenied, StoreError, StoreFull
from backburner_schemas.keys import clock_mark, is_of_tenant
from backburner_schemas.names import is_name

if TYPE_CHECKING:
    # obstore has these names for type checkers only.
    from obstore import GetOptions, GetResult

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 1 << 20
"""Of an object that is read as a whole, unless its reader knows better: manifests, cursors and their kin are smaller.

What lies in the store may have been put there by anybody who may write below one tenant.
"""
MAX_RECORDS_BYTES = 256 * 1024 * 1024
"""Of a segment, or an answer: one answer may have 128 MiB, and more where it is escaped."""
log = get_logger(__name__)

# One for all stores: every future of obstore's is awaited through it, so that none outlives the interpreter.
_calls = NativeCalls()
atexit.register(_calls.end)
os.register_at_fork(after_in_child=_calls.forget)

_BUCKET = re.compile(r"[^\s:@]+")
_USERS = "take it out, and give the store's credentials as docs/stores.md lists them"
_STORE_KINDS = frozenset({*Provider, "file", "memory"})
_MEASURE_SECONDS = 2.0
"""Nobody waits longer for the store's clock where it only dates something."""
_REMOVED_TOGETHER_COUNT = 1000
"""As many as S3 takes in one call."""
_REMOVED_AT_ONCE_COUNT = 16
"""Removals under way at once, where each is a call of its own."""
_STREAMED_SECONDS = 10
"""How long one request is read from, before another goes on behind what it gave."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's bytes and the tag that a conditional replace needs."""

    data: bytes
    etag: str | None
    modified: float
    """Unix seconds, by the store's clock."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object in a listing; the key is relative to the root."""

    key: str
    size: int
    modified: float
    """Unix seconds, by the store's clock."""
    etag: str | None = None
    """Another one when the object was replaced; None where the store has none."""


class Storage(Availability):
    """Objects under one root.

    Errors are `StoreError` (worth a retry), `StoreDenied` and `StoreFull` (not until somebody acts), nothing else.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: str = "",
        *,
        trial: "CertificateTrial | None" = None,
        clock: Callable[[], float] = time.monotonic,
        store_clock: StoreClock | None = None,
    ) -> None:
        self._store = store
        on_this_machine = isinstance(store, (LocalStore, MemoryStore))
        self.clock = store_clock or (OwnClock() if on_this_machine else StoreClock())
        """The clock that the store dates by, as far as it was measured."""
        self._trial = trial
        self._root = f"{root.strip('/')}/" if root.strip("/") else ""
        self._tenant: str | None = None
        self._reads = StorageAvailability("reads", clock)
        self._writes = StorageAvailability("writes", clock)

    @classmethod
    def open(cls, settings: Settings) -> "Storage":
        """The store that the settings name; makes no request. Raises `SettingsError` for a URL not understood."""
        url = settings.store_url
        forms = "set BACKBURNER_STORE_URL to s3://bucket/root, gs://…, az://… or file:///folder"
        if not url:
            raise SettingsError(
                f"no object store is set; {forms}, or run `backburner up` and then "
                "`. .backburner/env`, or, in Python, Client.from_env_file()"
            )
        check_no_user("BACKBURNER_STORE_URL", url, _USERS)
        try:
            parts = urlsplit(url)
        except ValueError as error:  # An address that is none.
            raise SettingsError(f"the store URL {shown(url)!r} is not understood; {forms}") from error
        if parts.scheme not in _STORE_KINDS or (parts.scheme in set(Provider) and not _BUCKET.fullmatch(parts.netloc)):
            raise SettingsError(f"the store URL {shown(url)!r} is not understood; {forms}")
        if parts.query or parts.fragment:
            # They would be passed over, and two roots be one.
            raise SettingsError(
                f"the store URL {shown(url)!r} has a ? or #; write %3F or %23 where it is part of a folder's name, and "
                "choose another root in a bucket"
            )
        if parts.scheme == "memory":
            return cls(MemoryStore(), parts.path)
        if parts.scheme == "file":
            return cls(LocalStore(_folder(url, parts)))
        opened = open_remote(Provider(parts.scheme), parts.netloc, settings)
        return cls(opened.patient, parts.path, trial=None if opened.once is None else CertificateTrial(opened.once))

    def of_tenant(self, tenant: str) -> "Storage":
        """The same store, for the objects of one tenant alone.

        Every method raises `ForeignKey` for a key or prefix that is not that tenant's, and asks the store nothing.
        Raises `ValueError` for what cannot name a tenant.
        """
        if not is_name(tenant):
            raise ValueError(f"{tenant!r} cannot name a tenant")
        made = copy.copy(self)
        made._tenant = tenant  # noqa: SLF001 - one of its own kind
        return made

    def _path(self, key: str) -> str:
        """Where the object is in the store. Every method asks here, so that none leaves its tenant."""
        if self._tenant is not None and not is_of_tenant(key, self._tenant):
            raise ForeignKey(f"a key that is not of tenant {self._tenant} was asked for on its behalf")
        return self._root + key

    def unavailable_reason(self) -> str | None:
        """Why the store counts as away at the moment, in one line; None while it answers or is not asked."""
        return self._writes.unavailable_reason() or self._reads.unavailable_reason()

    def back_at(self) -> float:
        """Monotonic seconds at which the store answered again after it had counted as away; -inf if it never had."""
        return max(self._writes.back_at, self._reads.back_at)

    async def ask(self, key: str) -> None:
        """Write the object, empty, and look at it, so that it is noted whether both are answered. Raises `StoreError`.

        One after the other, also where the first fails.
        """
        with suppress(StoreError):
            await self.put(key, b"")
        await self.modified(key)

    async def measure_clock(self, *, anew: bool = False) -> StoreClock:
        """The store's clock, measured now unless that was done lately; `anew`: in any case.

        It costs an empty object that is written, and a look at it: nothing else tells what the store's clock says.
        Whoever may not write it, or finds no room, does without: the clock is not trusted then. Raises `StoreError`.
        """
        if anew or self.clock.must_be_measured:
            whole, key, begun = copy.copy(self), clock_mark(), self.clock.begin()
            whole._tenant = None  # noqa: SLF001 - one of its own kind
            try:
                await whole.put(key, b"")
                dated = await whole.modified(key)
            except (StoreDenied, StoreFull) as error:
                log.warning(
                    "the store's clock cannot be measured; ending nothing by time", key=key, error=error.message
                )
                return self.clock
            if dated is not None:
                self.clock.note(dated, begun)
        return self.clock

    async def time(self) -> float:
        """Unix seconds by the store's clock; by this machine's where the store does not answer soon, or refuses.

        For what is dated; what is judged needs a clock that is trusted.
        """
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_MEASURE_SECONDS):
                await self.measure_clock()
        return self.clock.now()

    async def get(self, key: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Stored | None:
        """The object, or None if there is none. Raises `ObjectTooLarge` for one of more than so many bytes."""

        async def read() -> Stored:
            found = await _calls.run(obstore.get_async, self._store, self._path(key))
            _check_size(key, found.meta["size"], max_bytes)
            data = bytes(await _calls.run(found.bytes_async))
            return Stored(data, found.meta["e_tag"], found.meta["last_modified"].timestamp())

        return await _none_if_missing(self._asking(self._reads, read))

    async def view(self, key: str, *, max_bytes: int = MAX_RECORDS_BYTES) -> memoryview | None:
        """The object's bytes without a copy, or None if there is none. Raises `ObjectTooLarge` as `get` does."""

        async def read() -> memoryview:
            found = await _calls.run(obstore.get_async, self._store, self._path(key))
            _check_size(key, found.meta["size"], max_bytes)
            return memoryview(await _calls.run(found.bytes_async))

        return await _none_if_missing(self._asking(self._reads, read))

    async def head(self, key: str, length: int) -> bytes | None:
        """The object's first bytes, up to that many, or None if there is none."""

        async def read() -> bytes:
            try:
                return bytes(
                    await _calls.run(obstore.get_range_async, self._store, self._path(key), start=0, end=length)
                )
            except BaseError as error:
                # A store may refuse a range that ends behind the object; then the object is short.
                if isinstance(error, FileNotFoundError) or "range" not in str(error).lower():
                    raise
                found = await _calls.run(obstore.get_async, self._store, self._path(key))
                _check_size(key, found.meta["size"], length)
                return bytes(await _calls.run(found.bytes_async))

        return await _none_if_missing(self._asking(self._reads, read))

    async def part(self, key: str, start: int, length: int, etag: str | None = None) -> memoryview:
        """That many bytes of the object from `start` on, which it has to have, without a copy.

        Raises `StoreError` if there is no such object, and if it has another tag than `etag`, where one is given.
        """
        options: GetOptions = {"range": (start, start + length)}
        if etag is not None:
            options["if_match"] = etag

        async def read() -> memoryview:
            found = await _get(self._store, self._path(key), options)
            return memoryview(await _calls.run(found.bytes_async))

        return await self._asking(self._reads, read)

    async def stream(self, key: str) -> AsyncGenerator[bytes]:
        """The object in pieces, without holding all of it, for a reader as slow as it likes.

        Raises `StoreError` if there is none, and if it was replaced meanwhile.
        """
        path, read, size = self._path(key), 0, 1
        options: GetOptions = {}
        while read < size:
            opened = time.monotonic()
            found = await self._asking(self._reads, partial(_get, self._store, path, options))
            size, etag = found.meta["size"], found.meta["e_tag"]
            pieces = aiter(found.stream(min_chunk_size=1 << 18))
            while (piece := await self._asking(self._reads, partial(_next, pieces))) is not None:
                read += len(piece)
                yield bytes(piece)
                # The store's client ends a request that lasts longer than its limit, even where its reader is slow.
                if time.monotonic() - opened >= _STREAMED_SECONDS:
                    break
            else:
                if read < size:
                    raise StoreError(
                        f"the object store ended {key} after {read:,} of its {size:,} bytes; read it again"
                    )
                return
            options = {"range": {"offset": read}} if etag is None else {"range": {"offset": read}, "if_match": etag}

    async def modified(self, key: str) -> float | None:
        """When the object was last modified, in Unix seconds by the store's clock, or None if there is none."""

        async def read() -> float:
            meta = await _calls.run(obstore.head_async, self._store, self._path(key))
            return meta["last_modified"].timestamp()

        return await _none_if_missing(self._asking(self._reads, read))

    async def etag(self, key: str) -> str | None:
        """The object's tag, which changes with each write; None if there is none, or the store has no tags."""

        async def read() -> str | None:
            meta = await _calls.run(obstore.head_async, self._store, self._path(key))
            return meta["e_tag"]

        return await _none_if_missing(self._asking(self._reads, read))

    async def size(self, key: str) -> int | None:
        """How many bytes the object has, or None if there is none."""

        async def read() -> int:
            meta = await _calls.run(obstore.head_async, self._store, self._path(key))
            return meta["size"]

        return await _none_if_missing(self._asking(self._reads, read))

    async def put(self, key: str, data: bytes | Path) -> None:
        """Write the object, whatever was there; of a path, the file's bytes, without holding all of them."""
        await self._asking(self._writes, partial(self._put, key, data))

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        """Write the object in pieces within the block, in bounded memory, whatever was there.

        It exists once the block has ended, whole. Where the block ends by an error, or is cancelled, nothing is
        changed. Raises `StoreError`.
        """
        file = obstore.open_writer_async(
            self._store, self._path(key), buffer_size=PART_BYTES, max_concurrency=PARTS_UNDER_WAY_COUNT
        )
        writer = ObjectWriter(file, _calls, partial(self._asking, self._writes))
        try:
            yield writer
            await writer.finish()
        except BaseException:
            await asyncio.shield(writer.abort())
            raise

    async def create(self, key: str, data: bytes) -> bool:
        """Write the object if there is none. Returns whether it was written; False, maybe, after an internal retry."""

        async def write() -> bool:
            try:
                await self._put(key, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return await self._asking(self._writes, write)

    async def replace(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write the object if it still has that tag. Returns whether it was written.

        Not atomic on `file://`, which has no conditional replace: two writers at the same instant may both succeed.
        """

        async def write() -> bool:
            if isinstance(self._store, LocalStore):
                found = await self.get(key)
                if found is None or found.etag != etag:
                    return False
                await self.put(key, data)
                return True
            try:
                await self._put(key, data, mode={"e_tag": etag}, use_multipart=False)
            except (AlreadyExistsError, PreconditionError, NotModifiedError, FileNotFoundError):
                return False
            return True

        return await self._asking(self._writes, write)

    async def _put(self, key: str, data: bytes | Path, **options: Any) -> None:
        # A store in memory keeps the very object that it gets.
        if isinstance(data, Path) or isinstance(self._store, MemoryStore):
            await _calls.run(obstore.put_async, self._store, self._path(key), data, **options)
            return
        with _calls.lend(data) as payload:
            await _calls.run(obstore.put_async, self._store, self._path(key), payload, **options)

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; those that do not exist are ignored."""
        paths = [self._path(key) for key in keys]

        async def remove() -> None:
            try:
                await _calls.run(obstore.delete_async, self._store, paths)
            except FileNotFoundError:
                # A store that removes one object after the other ends at the first that is not there.
                for first in range(0, len(paths), _REMOVED_AT_ONCE_COUNT):
                    await asyncio.gather(*map(self._remove_one, paths[first : first + _REMOVED_AT_ONCE_COUNT]))

        if paths:
            await self._asking(self._writes, remove)

    async def _remove_one(self, path: str) -> None:
        with suppress(FileNotFoundError):
            await _calls.run(obstore.delete_async, self._store, path)

    async def delete_all(self, prefix: str, *, before: float = math.inf) -> int:
        """Remove the objects under the prefix that were last modified before then, in the store's Unix seconds.

        Returns how many there were. However many there are, some keys are held at a time.
        """
        removed, some = 0, list[str]()
        async with aclosing(self.scan(prefix)) as listing:
            async for one in listing:
                if one.modified >= before:
                    continue
                some.append(one.key)
                if len(some) == _REMOVED_TOGETHER_COUNT:
                    await self.delete(some)
                    removed, some = removed + len(some), []
        await self.delete(some)
        return removed + len(some)

    async def scan(self, prefix: str, *, after: str | None = None) -> AsyncGenerator[Listed]:
        """The objects under the prefix, in key order; `after` starts behind that key."""
        offset = self._path(after) if after else None
        try:
            pages = aiter(obstore.list(self._store, self._path(prefix), offset=offset, chunk_size=1000))
        except ValueError as error:
            raise self._translated(error) from error
        # A file system lists its files as it finds them.
        held = list[Listed]() if isinstance(self._store, LocalStore) else None
        while (page := await _none_if_missing(self._asking(self._reads, partial(_next, pages)))) is not None:
            listed = [
                Listed(meta["path"][len(self._root) :], meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])
                for meta in page
                # Not every server knows where it was asked to begin.
                if offset is None or meta["path"] > offset
            ]
            if held is not None:
                held += listed
                continue
            for one in listed:
                yield one
        for one in sorted(held or (), key=lambda one: one.key):
            yield one

    async def folders(self, prefix: str, *, after: str | None = None) -> list[str]:
        """The names one level below the prefix that have something below them, sorted."""

        async def read() -> list[str]:
            found = await _calls.run(obstore.list_with_delimiter_async, self._store, self._path(prefix))
            start = len(self._path(prefix))
            names = sorted(path[start:].strip("/") for path in found["common_prefixes"])
            return [name for name in names if after is None or name > after]

        return await self._asking(self._reads, read)

    async def _asking(self, availability: StorageAvailability, call: Callable[[], Awaitable[T]]) -> T:
        """The call's result, or the product's own error; how it went is noted in the availability."""
        begun = availability.begin()
        try:
            if self._trial is not None:
                await self._trial.passed(self._root + "pools")
            found = await call()
        except (BaseError, TimeoutError, OSError, ValueError) as error:
            failure = self._translated(error)
            if failure.retryable and not isinstance(failure, Missing):
                availability.failed(begun, failure.message)
            else:
                availability.answered(begun)
            raise failure from error
        except ObjectTooLarge:
            availability.answered(begun)
            raise
        except BaseException:
            availability.dropped(begun)
            raise
        availability.answered(begun)
        availability.has_worked = True
        return found

    def _translated(self, error: BaseException) -> StoreError:
        worked = self._reads.has_worked or self._writes.has_worked
        return translated(error, Provider.of(self._store), worked=worked)


class CertificateTrial:
    """Whether the server's certificate is trusted, found out before the first call.

    A client that tries a dozen times, seconds apart, does so for a certificate that will not change, too.
    """

    def __init__(self, once: ObjectStore) -> None:
        self._once = once
        self._passed = False

    async def passed(self, path: str) -> None:
        """Return once the certificate was trusted, or nobody can tell. Raises the client's error if it is not."""
        if self._passed:
            return
        try:
            await _calls.run(obstore.head_async, self._once, path)
        except (BaseError, TimeoutError, OSError, ValueError) as error:
            if certificate_fault(error) is not None:
                raise
        self._passed = True


def _check_size(key: str, size: int, max_bytes: int) -> None:
    """Raise `ObjectTooLarge` before any of it is read."""
    if size > max_bytes:
        raise ObjectTooLarge(
            f"the object {key} has {size:,} bytes, and none of its kind has more than {max_bytes:,}; "
            "find out what wrote it, and restore or remove it"
        )


def _folder(url: str, parts: SplitResult) -> Path:
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise SettingsError(f"the store URL {url!r} names no folder; write its whole path, as in file:///folder")
    folder = Path(unquote(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"the folder {folder!s} of BACKBURNER_STORE_URL cannot be created: {why}; choose another"
        ) from error
    return folder


async def _none_if_missing(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except Missing:
        return None


async def _get(store: ObjectStore, path: str, options: "GetOptions") -> "GetResult":
    """The object, or some of it. Raises `ObjectReplaced` if it has not the tag any more that the options name."""
    try:
        return await _calls.run(obstore.get_async, store, path, options=options)
    except PreconditionError as error:
        raise ObjectReplaced from error


async def _next(pages: AsyncIterator[T]) -> T | None:
    """What comes next, or None behind the last."""
    try:
        return await _calls.run(anext, pages)
    except StopAsyncIteration:
        return None
