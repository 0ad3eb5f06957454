"""Finds the request of a record in the input that the job was made from, without holding the input in memory."""

from array import array
from collections.abc import Iterable
from contextlib import aclosing, closing
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from pydantic import Field

from backburner.inputs.findings import Findings
from backburner.inputs.items import Item
from backburner.inputs.line_blocks import on_one_line
from backburner.inputs.source import read_lines
from backburner.inputs.validation import Checker, Router
from backburner.storage import Storage
from backburner.temporary_files import temporary_files
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict
from backburner_schemas.job import JobManifest, Sealed
from backburner_schemas.request import BatchRequest, parse_request
from backburner_schemas.result import ResultRecord


class JoinedResult(ResultRecord):
    """A result record beside the request that it answers."""

    request: BatchRequest | None = Field(default=None, exclude=True)
    """None for records of streams and for what the input does not hold. Not part of the record's JSON."""


class JoinedInput:
    """An input's accepted lines by index. They are in a temporary file; memory holds one number for each."""

    def __init__(self, job: str, max_bytes: int, model: str | None) -> None:
        self._job = job
        self._model = model
        self._max_bytes = max_bytes
        with temporary_files():
            self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._offsets = array("Q")

    @classmethod
    async def read(
        cls,
        source: Path | str | Iterable[Item],
        manifest: JobManifest,
        sealed: Sealed | None,
        *,
        max_bytes: int,
        router: Router | None,
    ) -> Self:
        """Read the input that the job was made from. Raises `JobConflict` if it is another one.

        `router` tells which lines were skipped for their model alone; None if none were.
        """
        joined = cls(manifest.id, max_bytes, manifest.model)
        checker = Checker(max_bytes=max_bytes, pool=manifest.pool, model=manifest.model, router=router)
        rolling = sha256()
        with closing(checker):
            async with aclosing(read_lines(source, max_bytes=max_bytes)) as chunks:
                async for chunk in chunks:
                    texts = dict(chunk)
                    for one in (await checker.check(chunk, Findings())).accepted:
                        rolling.update(one.data)
                        rolling.update(b"\n")
                        text = texts[one.line]
                        assert isinstance(text, bytes)
                        joined._add(text)
        if sealed is not None and (len(joined._offsets), rolling.hexdigest()) != (sealed.total, sealed.sha256):
            joined.close()
            raise _another(manifest.id)
        return joined

    def join(self, record: ResultRecord) -> JoinedResult:
        """The record with its request and, where it had none, its custom_id. Raises `JobConflict` if they differ."""
        request = self._request(record.backburner.index)
        if request is not None and record.custom_id not in {None, request.custom_id}:
            raise _another(self._job)
        fields = {name: getattr(record, name) for name in ResultRecord.model_fields}
        if request is not None:
            fields["custom_id"] = request.custom_id
        return JoinedResult.model_construct(**fields, request=request)

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _add(self, text: bytes) -> None:
        with temporary_files():
            self._offsets.append(self._file.tell())
            self._file.write(on_one_line(text))
            self._file.write(b"\n")

    def _request(self, index: int | str) -> BatchRequest | None:
        if isinstance(index, str) or index >= len(self._offsets):
            return None
        self._file.seek(self._offsets[index])
        return parse_request(self._file.readline(), max_bytes=self._max_bytes + 1, model=self._model)


async def download_input(storage: Storage, manifest: JobManifest, into: Path) -> bool:
    """Copy the job's stored input into a file. Returns whether there is one. Raises `StoreError`.

    A gateway's file may have been deleted since, and what a manifest names elsewhere is passed over.
    """
    key = manifest.stored.key if manifest.stored is not None else keys.stored_input(manifest.tenant, manifest.id)
    if not keys.is_input_of(key, manifest.tenant, manifest.id) or await storage.modified(key) is None:
        return False
    with temporary_files(), into.open("wb") as file:
        async for piece in storage.stream(key):
            file.write(piece)
    return True


def _another(job: str) -> JobConflict:
    return JobConflict(f"the input is not the one that job {job} was made from; join with that one")
