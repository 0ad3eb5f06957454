"""Stands in for vLLM and torch, with extensions that are real to the loader: what a bare machine's loader says of them.

The extensions are copies of one that is installed here: it defines no module of that name, and a copy can be made to
want a library that is nowhere.
"""

from pathlib import Path

import pydantic_core

MISSING = "libq.so.6"
_WANTED = b"\0libc.so.6\0"

TORCH = """
__version__ = "2.13.0"

class version:
    cuda = None

class cpu:
    _is_avx512_bf16_supported = staticmethod(lambda: {bf16})
    _is_avx512_supported = staticmethod(lambda: {avx512})
"""


def write_fakes(
    folder: Path, *, good: tuple[str, ...] = (), broken: tuple[str, ...] = (), bf16: bool = True, avx512: bool = True
) -> Path:
    """Packages torch and vllm in that folder, with those extensions that load, and those that want a library.

    And starlette, which comes with vLLM, and is not there without.
    """
    (folder / "starlette").mkdir(parents=True)
    (folder / "starlette" / "datastructures.py").write_text("class State: ...\n")
    for package, text in (("torch", TORCH.format(bf16=bf16, avx512=avx512)), ("vllm", "")):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(text)
    whole = Path(pydantic_core._pydantic_core.__file__).read_bytes()
    assert _WANTED in whole
    for name in good:
        (folder / "vllm" / f"{name}.abi3.so").write_bytes(whole)
    for name in broken:
        wanting = whole.replace(_WANTED, f"\0{MISSING}\0".encode())
        (folder / "vllm" / f"{name}.abi3.so").write_bytes(wanting)
    return folder


def write_metadata(folder: Path, name: str, version: str) -> Path:
    """A distribution's metadata alone, as if it were installed."""
    facts = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder
