"""What `fetch-model` notes in the folder that it makes: where it is from, and which files are there whole. No I/O."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backburner_worker.model_fetch.model_file import DigestKind, ModelFile

MAX_RECORD_BYTES = 32 * 1024 * 1024


class FetchedFile(BaseModel):
    """A file that was fetched whole, has the sum that it should have, and is on the disk."""

    model_config = ConfigDict(frozen=True)

    size: Annotated[int, Field(ge=0)]
    """In bytes."""
    tag: str | None
    """The source's own, at that time."""
    sha256: str

    def is_still(self, file: ModelFile) -> bool:
        """Whether the source still lists this very file."""
        digest = file.digest
        if digest is not None and digest.kind is DigestKind.SHA256:
            return (self.size, self.sha256) == (file.size, digest.hex)
        return (self.size, self.tag) == (file.size, file.tag)


class FolderRecord(BaseModel):
    """Of one folder. While it is made it says how far that is; in the model's folder it says what is there."""

    v: int = 1
    source: str
    checksum: str = ""
    """`BACKBURNER_MODEL_CHECKSUM`, where it was given."""
    boot: str = ""
    """Of the machine that wrote it last. After another start of it, what was not written out is not to be trusted."""
    whole: bool = False
    begun: dict[str, str] = Field(default_factory=dict)
    """Files that were begun, with the source's tags of them: a part of another one is not gone on with."""
    files: dict[str, FetchedFile] = Field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """The record; None for what is none, such as that of a later release."""
        try:
            found = cls.model_validate_json(data)
        except ValidationError:
            return None
        return found if found.v == 1 else None

    def is_of(self, source: str, checksum: str) -> bool:
        """Whether the folder is of what is wanted. With a checksum it does not matter where it came from."""
        return self.checksum == checksum if checksum else self.source == source
