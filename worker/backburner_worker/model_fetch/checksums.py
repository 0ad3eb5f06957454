"""Reads `SHA256SUMS`, and says which of a source's files make up the model, and with which sums. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from backburner_schemas.errors import ModelChecksumWrong, ModelSourceRefused
from backburner_worker.model_fetch.model_file import SUMS_NAME, Digest, DigestKind, ModelFile, check_name

MAX_FILES = 10_000
"""In one model."""
MAX_SUMS_BYTES = 4 * 1024 * 1024
_LINE = re.compile(r"(?P<sum>[0-9a-fA-F]{64}) [ *](?:\./)?(?P<name>.+)")
_HOW = "write it with `sha256sum` in the source's folder"


def parse_sums(data: bytes, *, checksum: str = "") -> dict[str, str]:
    """The sums by file name. Raises `ModelChecksumWrong` if `checksum` is given and is not that of the text.

    Raises `ModelSourceRefused` for what `sha256sum` did not write, and for names that no file may have.
    """
    if checksum and (found := sha256(data).hexdigest()) != checksum:
        raise ModelChecksumWrong(
            f"{SUMS_NAME} of the source has the SHA-256 {found} and BACKBURNER_MODEL_CHECKSUM is {checksum}; "
            "the source holds another model, or was changed: find out which of the two is right"
        )
    sums: dict[str, str] = {}
    for number, line in enumerate(_text(data).splitlines(), start=1):
        if not line.strip():
            continue
        read = _LINE.fullmatch(line)
        if read is None:
            raise ModelSourceRefused(f"line {number} of {SUMS_NAME} is no SHA-256 and name; {_HOW}")
        name = read["name"]
        check_name(name)
        if sums.setdefault(name, read["sum"].lower()) != read["sum"].lower():
            raise ModelSourceRefused(f"{SUMS_NAME} has two sums for {name}; {_HOW}")
        if len(sums) > MAX_FILES:
            raise ModelSourceRefused(f"{SUMS_NAME} lists over {MAX_FILES} files; that is no model's folder")
    sums.pop(SUMS_NAME, None)
    if not sums:
        raise ModelSourceRefused(f"{SUMS_NAME} lists no file; {_HOW}")
    return sums


def listed_files(files: Iterable[ModelFile], sums: Mapping[str, str]) -> list[ModelFile]:
    """Those of the files that `SHA256SUMS` lists, each with its sum. Raises `ModelSourceRefused` if one is missing."""
    by_name = {file.name: file for file in files}
    missing = sorted(sums.keys() - by_name.keys())
    if missing:
        raise ModelSourceRefused(
            f"{SUMS_NAME} lists {missing[0]}, which the source does not have, nor {len(missing) - 1} others; "
            "upload the whole folder"
            if len(missing) > 1
            else f"{SUMS_NAME} lists {missing[0]}, which the source does not have; upload the whole folder"
        )
    return [replace(by_name[name], digest=Digest(DigestKind.SHA256, value)) for name, value in sorted(sums.items())]


def check_files(files: Iterable[ModelFile]) -> None:
    """Raise `ModelSourceRefused` for names that cannot stand beside each other in a folder, and if there is no file."""
    names = {file.name for file in files}
    if not names:
        raise ModelSourceRefused("the source has no files; check BACKBURNER_MODEL_SOURCE, down to its last folder")
    if len(names) > MAX_FILES:
        raise ModelSourceRefused(f"the source has over {MAX_FILES} files; name the folder of one model")
    for name in names:
        check_name(name)
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if (folder := "/".join(parts[:depth])) in names:
                raise ModelSourceRefused(f"the source has {folder} both as a file and as a folder; rename one of them")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ModelSourceRefused(f"{SUMS_NAME} is not UTF-8; {_HOW}") from error
