"""A file: as it is stored, and as OpenAI's API shows it."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from backburner_schemas.envelope import UnixSeconds
from backburner_schemas.names import MAX_INDEX

BATCH = "batch"
"""The purpose of what batches are made from: the only one that callers may give."""
BATCH_OUTPUT = "batch_output"
"""The purpose of what batches give."""
LEAST_EXPIRY_SECONDS = 3600
MOST_EXPIRY_SECONDS = 30 * 24 * 3600
"""OpenAI's bounds of `expires_after`."""

_FILE_ID = re.compile(r"file-[0-9a-z]{26}")


class StoredFile(BaseModel):
    """What is known of a file. It exists once this is stored, and its bytes are by then."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    id: Annotated[str, Field(pattern=f"^{_FILE_ID.pattern}$")]
    bytes: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    created_at: UnixSeconds
    expires_at: UnixSeconds | None = None
    filename: Annotated[str, Field(max_length=255)]
    purpose: Annotated[str, Field(max_length=64)]
    requests: Annotated[int, Field(ge=0, le=MAX_INDEX)] = 0
    """Lines that are not blank."""
    created_by: Annotated[str, Field(max_length=255)] = ""

    def expired(self, now: float) -> bool:
        """Whether it counts as gone at that time, in Unix seconds."""
        return self.expires_at is not None and now >= self.expires_at


class FileObject(BaseModel):
    """A file, in OpenAI's form."""

    id: str
    """The file's id."""
    object: Literal["file"] = "file"
    """Always `file`."""
    bytes: int
    """Its size; of a batch's results the size of what is stored of them, which grows while the batch runs."""
    created_at: int
    """Unix seconds."""
    expires_at: int | None = None
    """Unix seconds at which it goes; null if it stays."""
    filename: str
    """Its name, as it was uploaded, without folders."""
    purpose: str
    """`batch` for what batches are made from, `batch_output` for what they give."""
    status: Literal["uploaded", "processed", "error"] = "processed"
    """Always `processed`."""

    @classmethod
    def of(cls, file: StoredFile) -> "FileObject":
        """A stored file in this form."""
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=int(file.created_at),
            expires_at=None if file.expires_at is None else int(file.expires_at),
            filename=file.filename,
            purpose=file.purpose,
        )


class FilePage(BaseModel):
    """Some files. Go on with the last one's id as `after`."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[FileObject]
    """The files of this page; it may hold fewer than were asked for although there are more."""
    first_id: str | None = None
    """Id of the first."""
    last_id: str | None = None
    """Id of the last."""
    has_more: bool = False
    """Whether there are more."""

    @classmethod
    def of(cls, files: list[FileObject], *, has_more: bool) -> "FilePage":
        """A page of these files."""
        ids: list[str] | list[None] = [file.id for file in files] or [None]
        return cls(data=files, first_id=ids[0], last_id=ids[-1], has_more=has_more)


class FileDeleted(BaseModel):
    """The answer to a file's deletion."""

    id: str
    """The file's id."""
    object: Literal["file"] = "file"
    """Always `file`."""
    deleted: bool = True
    """Always true."""


def is_file_id(text: str) -> bool:
    """Whether an uploaded file can have that id."""
    return _FILE_ID.fullmatch(text) is not None
