"""Digests that identify what answers: they change with a model's or adapter's files, the engine and its arguments."""

import hashlib
from pathlib import Path

_READ_BYTES = 1 << 20
"""Files up to this size are read: settings and templates are smaller, weights are not."""


def model_identity(*, model: str, served: tuple[str, ...], version: str, engine_args: str, revision: str) -> str:
    """A digest of everything that an answer depends on beside the request.

    Args:
        model: Folder or name of the model. Of a folder its files' names and sizes count, and what the small ones hold,
            so that two nodes with copies of it agree; of a name, the name.
        served: The names that it is served by.
        version: The engine and its version.
        engine_args: The engine's arguments, since quantisation and context length change answers.
        revision: The operator's own name for this version of the model, for weights that change behind a name.
    """
    folder = Path(model)
    # No name at all, as of the fake engine, would be the working directory.
    parts = [*(_files(folder) if model and folder.is_dir() else [model]), *served, version, engine_args, revision]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def adapter_identity(base: str, folder: str) -> str:
    """A digest of an adapter on the base model with that identity. Of its files all counts that they hold.

    Retrained weights have the size of those before, and operators change adapters more often than models.
    """
    path = Path(folder).expanduser()
    parts = [base, *(_files(path, whole=True) if path.is_dir() else [folder])]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def _files(folder: Path, *, whole: bool = False) -> list[str]:
    return [_file(folder, path, whole=whole) for path in sorted(folder.rglob("*")) if path.is_file()]


def _file(folder: Path, path: Path, *, whole: bool) -> str:
    size = path.stat().st_size
    held = ""
    if whole or size <= _READ_BYTES:
        with path.open("rb") as file:
            held = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{path.relative_to(folder)}:{size}:{held}"
