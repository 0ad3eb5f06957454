"""One file of a model as its source lists it, and which names such files may have. Pure."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backburner_schemas.errors import ModelSourceRefused

SUMS_NAME = "SHA256SUMS"
"""Of the file in a source that lists the others with their sums, as `sha256sum` writes it."""
RECORD_NAME = ".backburner-model.json"
"""Of the file that `fetch-model` keeps in the folder that it makes."""
RECORD_NAMES = frozenset({RECORD_NAME, f"{RECORD_NAME}.new"})
"""The same, and what it is written as."""
_MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255
"""What file systems take between two slashes."""
_MAX_FOLDERS_DEEP = 16


class Hash(Protocol):
    """A running hash."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take in the next bytes."""
        ...

    def hexdigest(self) -> str:
        """The sum of all so far."""
        ...


class DigestKind(StrEnum):
    """How a file's sum is formed."""

    SHA256 = "sha256"
    GIT_BLOB = "git-blob"
    """SHA-1 over git's header and the file: what a git repository names a file by."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The sum that a file has to have."""

    kind: DigestKind
    hex: str

    def begin(self, size: int) -> Hash:
        """A running hash of this kind, for a file of that many bytes."""
        if self.kind is DigestKind.SHA256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model."""

    name: str
    """Relative to the source's folder, with slashes."""
    size: int
    """In bytes."""
    tag: str | None = None
    """Another one when the file was replaced; None where the source has none."""
    digest: Digest | None = None
    """The sum that it has to have; None where the source tells none."""


def check_name(name: str) -> None:
    """Raise `ModelSourceRefused` for a name that may not become a path in the model's folder."""
    parts = name.split("/")
    wrong = (
        "too long" if len(name.encode(errors="replace")) > _MAX_NAME_BYTES else
        "an absolute path" if name.startswith("/") else
        "in too many folders" if len(parts) > _MAX_FOLDERS_DEEP else
        "no plain path" if any(part in {"", ".", ".."} for part in parts) else
        "too long" if any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in parts) else
        "with a character that no file's name should have" if "\\" in name or not name.isprintable() else
        "kept for Backburner" if parts[0] in RECORD_NAMES else
        None
    )  # fmt: skip
    if wrong is not None:
        raise ModelSourceRefused(f"the source has a file {name[:80]!r}, whose name is {wrong}; rename it there")
