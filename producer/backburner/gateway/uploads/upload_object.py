"""An upload in parts: as it is stored, as calls say it, and as OpenAI's API shows it."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

from backburner.gateway.batches.batch_create import ExpiresAfter
from backburner.gateway.files.file_object import BATCH, FileObject, StoredFile
from backburner.gateway.http.call_body import CallBody
from backburner_schemas.envelope import MAX_UNIX_SECONDS, UnixSeconds
from backburner_schemas.names import MAX_INDEX

LASTS_SECONDS = 3600.0
"""An upload that is not completed by then is given up."""
PART_LIMIT_BYTES = 64 * 1024 * 1024
"""OpenAI's bound of a part."""
MAX_PARTS = 10_000
"""Of an upload."""

_UPLOAD_ID = re.compile(r"upload_[0-9a-z]{26}")
_PART_ID = re.compile(r"part_[0-9a-z]{26}")


class UploadCreate(CallBody):
    """A new upload."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    """The name that the file is to have."""
    bytes: Annotated[int, Field(ge=1, le=MAX_INDEX)]
    """How many bytes all parts have together."""
    purpose: Annotated[str, Field(max_length=64, examples=[BATCH])]
    """Must be `batch`."""
    mime_type: Annotated[str, Field(max_length=255)]
    """Taken, and not looked at."""
    expires_after: ExpiresAfter | None = None
    """When the file goes."""


class UploadComplete(CallBody):
    """The end of an upload."""

    part_ids: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=MAX_PARTS), FailFast()
    ]
    """The parts in the order in which they make the file."""
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None
    """The file's MD5, in hexadecimal; compared where it is given."""


class StoredUpload(BaseModel):
    """What is known of an upload from its beginning."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    id: Annotated[str, Field(pattern=f"^{_UPLOAD_ID.pattern}$")]
    filename: Annotated[str, Field(max_length=255)]
    bytes: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    purpose: Annotated[str, Field(max_length=64)]
    created_at: UnixSeconds
    expires_at: UnixSeconds
    file_seconds: Annotated[float, Field(ge=0, le=MAX_UNIX_SECONDS, allow_inf_nan=False)]
    """Seconds after which the file goes."""


class UploadEnd(BaseModel):
    """How an upload ended; the first one that is written counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    file: StoredFile | None = None
    """The file that it became; None where it was cancelled."""


class UploadObject(BaseModel):
    """An upload, in OpenAI's form."""

    id: str
    """The upload's id."""
    object: Literal["upload"] = "upload"
    """Always `upload`."""
    bytes: int
    """How many bytes all parts are to have together."""
    created_at: int
    """Unix seconds."""
    expires_at: int
    """Unix seconds at which it is given up."""
    filename: str
    """The name of the file to come."""
    purpose: str
    """`batch`."""
    status: Literal["pending", "completed", "cancelled", "expired"]
    """What became of it."""
    file: FileObject | None = None
    """The file, once it is completed."""

    @classmethod
    def of(cls, upload: StoredUpload, end: UploadEnd | None) -> "UploadObject":
        """A stored upload in this form."""
        status: Literal["pending", "completed", "cancelled"] = "pending"
        if end is not None:
            status = "cancelled" if end.file is None else "completed"
        return cls(
            id=upload.id,
            bytes=upload.bytes,
            created_at=int(upload.created_at),
            expires_at=int(upload.expires_at),
            filename=upload.filename,
            purpose=upload.purpose,
            status=status,
            file=None if end is None or end.file is None else FileObject.of(end.file),
        )


class PartObject(BaseModel):
    """A part of an upload, in OpenAI's form."""

    id: str
    """The part's id."""
    object: Literal["upload.part"] = "upload.part"
    """Always `upload.part`."""
    created_at: int
    """Unix seconds."""
    upload_id: str
    """The upload that it belongs to."""


def is_upload_id(text: str) -> bool:
    """Whether an upload can have that id."""
    return _UPLOAD_ID.fullmatch(text) is not None


def is_part_id(text: str) -> bool:
    """Whether a part can have that id."""
    return _PART_ID.fullmatch(text) is not None
