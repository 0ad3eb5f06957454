"""The folder of a model on the disk, and the one beside it in which it is made. Every method blocks: call in a thread.

The model's folder is there whole or not at all: it is made as `.part-…` beside, and renamed at the end.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterable
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from backburner.logs import get_logger
from backburner_schemas.errors import ModelFolderUnusable, SettingsError
from backburner_worker.model_fetch.model_file import RECORD_NAME, ModelFile
from backburner_worker.model_fetch.record import MAX_RECORD_BYTES, FolderRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SPARE_BYTES = 64 * 1024 * 1024
"""Left free on the volume, for what the file system itself needs."""
_WANTED_DIGITS_COUNT = 12

log = get_logger(__name__)


class ModelFolder:
    """A model's folder, and its making. It is not locked here."""

    def __init__(self, path: Path, *, source: str, checksum: str) -> None:
        """`source` and `checksum` say what is wanted in it."""
        self.path = path
        self._source = source
        self._checksum = checksum
        self._wanted = sha256((checksum or source).encode()).hexdigest()[:_WANTED_DIGITS_COUNT]
        self.part = path.with_name(f".part-{path.name}-{self._wanted}")
        """Where it is made. Another model that is to have the same name is made elsewhere."""
        self.lock = path.with_name(f".lock-{path.name}")

    @classmethod
    def named(cls, model: str, *, source: str, checksum: str) -> "ModelFolder":
        """The folder that `BACKBURNER_MODEL` names. Raises `SettingsError` if it names none."""
        path = Path(model)
        if not path.is_absolute() or not path.name or ".." in path.parts:
            said = f"is {model!r}" if model else "is not set"
            raise SettingsError(f"BACKBURNER_MODEL {said}; set it to the folder to make, such as /models/chat")
        return cls(path, source=source, checksum=checksum)

    def is_whole(self) -> bool:
        """Whether what is wanted is there. Sizes are looked at, contents are not. Raises `ModelFolderUnusable`."""
        with _named(self.path):
            record = _read_record(self.path)
            if record is None or not record.whole or not record.is_of(self._source, self._checksum):
                return False
            wrong = [name for name, file in record.files.items() if _size(self.path / name) != file.size]
        if wrong:
            log.warning(
                "a file of the model is missing or cut off; fetching anew", folder=str(self.path), file=wrong[0]
            )
        return not wrong

    def prepare(self) -> FolderRecord:
        """What is there of the folder that is made. Other models' parts under this name are removed.

        Raises `ModelFolderUnusable`.
        """
        with _named(self.path):
            self._check_path()
            for other in self._beside("part"):
                if other != self.part:
                    log.info("removing what was fetched of another model under this name", folder=str(other))
                    shutil.rmtree(other, ignore_errors=True)
            for old in self._beside("old"):
                shutil.rmtree(old, ignore_errors=True)
            self.part.mkdir(exist_ok=True)
            record = _read_record(self.part)
            if record is None:
                record = FolderRecord(source=self._source, checksum=self._checksum, boot=boot_id())
            return record

    def make_way(self, files: Iterable[ModelFile]) -> None:
        """Remove what an earlier run left of files where folders are wanted now, and of folders where files are."""
        files = list(files)
        with _named(self.path):
            folders = {Path(above) for file in files for above in PurePosixPath(file.name).parents} - {Path()}
            # The outer ones first.
            for folder in (self.part / inner for inner in sorted(folders)):
                if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                    folder.unlink()
            for path in (self.part / file.name for file in files):
                if path.is_symlink():
                    path.unlink()
                elif path.is_dir():
                    shutil.rmtree(path)

    def check_room(self, files: Iterable[ModelFile]) -> None:
        """Raise `ModelFolderUnusable` unless what is missing of the files fits on the volume."""
        with _named(self.path):
            missing = sum(max(0, file.size - (_size(self.part / file.name) or 0)) for file in files)
            state = os.statvfs(self.part)
            free = state.f_bavail * state.f_frsize
        if missing and missing + _SPARE_BYTES > free:
            raise ModelFolderUnusable(
                f"{missing / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free at {self.path.parent}; "
                "make room there, or take a larger volume"
            )

    def forget(self, names: Iterable[str]) -> None:
        """Remove what is there of these files."""
        with _named(self.path):
            for name in names:
                with suppress(FileNotFoundError, NotADirectoryError):
                    (self.part / name).unlink()

    def save(self, record: FolderRecord) -> None:
        """Note how far it is."""
        with _named(self.path):
            _write_record(self.part, record)

    def publish(self, record: FolderRecord) -> None:
        """Give the folder its name, whole, in place of what `fetch-model` made there before.

        `record` has every file of the model; what else lies in the part is removed.
        """
        with _named(self.path):
            self._remove_strays(record.files)
            for name, file in record.files.items():
                if _size(self.part / name) != file.size:
                    raise ModelFolderUnusable(f"{self.part / name} was changed by somebody else; start again")
            _write_record(self.part, record.model_copy(update={"whole": True}))
            for folder, _, _ in os.walk(self.part):
                _sync_folder(Path(folder))
            old = self.path.with_name(f".old-{self.path.name}-{self._wanted}")
            if _read_record(self.path) is not None:
                self.path.rename(old)
            self.part.rename(self.path)
            _sync_folder(self.path.parent)
            shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what is there of the folder that is made."""
        shutil.rmtree(self.part, ignore_errors=True)

    def _beside(self, kind: str) -> list[Path]:
        """The folders of that kind that are this one's. Names of other models may begin as this one's does."""
        own = re.compile(rf"\.{kind}-{re.escape(self.path.name)}-[0-9a-f]{{{_WANTED_DIGITS_COUNT}}}")
        return [path for path in self.path.parent.iterdir() if own.fullmatch(path.name)]

    def _check_path(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_mount():
            raise ModelFolderUnusable(
                f"{self.path} is a mounted volume, which cannot be replaced; mount it at {self.path.parent}, or set "
                "BACKBURNER_MODEL to a folder in it"
            )
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise ModelFolderUnusable(f"{self.path} is there and is no folder; remove it, or set BACKBURNER_MODEL anew")
        if self.path.is_dir() and _read_record(self.path) is None and any(self.path.iterdir()):
            raise ModelFolderUnusable(
                f"{self.path} holds files that fetch-model did not put there; remove them, or set BACKBURNER_MODEL anew"
            )

    def _remove_strays(self, names: Collection[str]) -> None:
        for folder, _, found in os.walk(self.part):
            for name in found:
                path = Path(folder, name)
                inner = path.relative_to(self.part).as_posix()
                if inner not in names and inner != RECORD_NAME:
                    path.unlink()


def boot_id() -> str:
    """Which start of the machine this is; empty where the kernel does not tell."""
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_record(folder: Path) -> FolderRecord | None:
    try:
        with (folder / RECORD_NAME).open("rb") as file:
            return FolderRecord.parse(file.read(MAX_RECORD_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_record(folder: Path, record: FolderRecord) -> None:
    new = folder / f"{RECORD_NAME}.new"
    with new.open("wb") as file:
        file.write(record.model_dump_json(indent=1).encode())
        _sync(file)
    new.replace(folder / RECORD_NAME)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # Not every network's file system can do that for a folder.
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


@contextmanager
def _named(path: Path) -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> ModelFolderUnusable:
    """What the file system refused, with what to do about it."""
    return ModelFolderUnusable(
        f"{error.filename or path}: {error.strerror or error}; check that this user may write to the folder that holds "
        f"{path}, and that the volume has room"
    )
