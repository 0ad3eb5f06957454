"""Loads vLLM's compiled kernels by themselves, so that a missing library is reported by its name.

vLLM itself only warns that they did not load, and fails later, at whatever needs them first. Loading them once more,
as vLLM does, costs nothing. Which release it is, is `release`'s.
"""

import importlib
import importlib.util
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from backburner_schemas.errors import SettingsError

_CUDA = "_C_stable_libtorch"
_DRIVER = "libcuda.so.1"
"""NVIDIA's driver. The machine brings it, never the image."""

_LOADED_ALL_THE_SAME = "dynamic module does not define module export function"
"""Two of the CPU build's three extensions have another name than what they define; vLLM ignores that error too."""

_PACKAGES = {
    "libnuma.so.1": ("libnuma1", "numactl-libs"),
    "libgomp.so.1": ("libgomp1", "libgomp"),
    "libstdc++.so.6": ("libstdc++6", "libstdc++"),
    "libgcc_s.so.1": ("libgcc-s1", "libgcc"),
}
"""The packages of the system libraries that vLLM and torch need, on Debian and on Fedora."""

_MISSING = re.compile(r"(\S+): cannot open shared object file")
_TORCHS_OWN = re.compile(r"lib(torch|c10|shm)")
_NVIDIAS = re.compile(r"lib(cu|nv|nccl)")
_REINSTALL = "reinstall both: `pip install --force-reinstall 'backburner[worker]'`, or requirements/worker-cpu.lock"


class Kernels(StrEnum):
    """The result of loading them, in words."""

    LOADED = "its kernels load"
    NO_DRIVER = "its kernels not tried: the GPU's driver, libcuda.so.1, comes from the machine that the worker runs on"
    ELSEWHERE = "its kernels not tried: they are in another package"
    """Builds for other accelerators have no extension of vLLM's own."""


def load_kernels(*, without_driver: bool = False) -> Kernels:
    """Load them as vLLM will. Imports torch and vLLM's package. Raises a `SettingsError` that names what is missing.

    Args:
        without_driver: Whether the GPU's driver may be missing, as it is while an image is built.
    """
    torch = _imported("torch", "torch")
    package = _imported("vllm", "vLLM")
    name = _module(Path(package.__path__[0]), torch)
    if name is None:
        return Kernels.ELSEWHERE
    try:
        importlib.import_module(f"vllm.{name}")
    except ImportError as error:
        if _LOADED_ALL_THE_SAME in str(error):
            return Kernels.LOADED
        if without_driver and missing_library(str(error)) == _DRIVER:
            return Kernels.NO_DRIVER
        raise SettingsError(reason("vLLM's extension", error, torch.__version__)) from error
    return Kernels.LOADED


def _imported(name: str, called: str) -> Any:
    if importlib.util.find_spec(name) is None:
        raise SettingsError(f"{called} is not installed beside this worker; {_REINSTALL}")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise SettingsError(reason(called, error, "")) from error


def _module(folder: Path, torch: Any) -> str | None:
    """The extension that vLLM's platform takes on this machine; None for a build that has none of these."""
    built = {path.name.partition(".")[0] for path in folder.glob("_C*.so")}
    if _CUDA in built:
        return _CUDA
    # The CPU build has one for each kind of x86, with the newest as `_C`; elsewhere there is that alone.
    wanted = "_C"
    if "_C_AVX2" in built and not torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001 - vLLM asks the same
        wanted = "_C_AVX512" if torch.cpu._is_avx512_supported() else "_C_AVX2"  # noqa: SLF001
    return wanted if wanted in built else None


def missing_library(message: str) -> str | None:
    """The library that the loader did not find, if that is what the message is about."""
    found = _MISSING.search(message)
    return found.group(1) if found else None


def reason(what: str, error: Exception, torch_version: str) -> str:
    """Why it cannot load, in words, and what to do."""
    library = missing_library(str(error))
    if library is not None:
        return f"{what} cannot load: {library} is missing; {_remedy(library)}"
    if "undefined symbol" in str(error):
        built_for = f"it was built for another torch than the installed {torch_version}".rstrip()
        return f"{what} cannot load: {error}; {built_for}: {_REINSTALL}"
    return f"{what} cannot load: {type(error).__name__}: {error}; {_REINSTALL}"


def _remedy(library: str) -> str:
    if library in _PACKAGES:
        debian, fedora = _PACKAGES[library]
        return f"Debian, Ubuntu: sudo apt install {debian}; Fedora: sudo dnf install {fedora}"
    if library == _DRIVER:
        return (
            "it comes with NVIDIA's driver: install that on the machine, and let containers have the GPU "
            "(`docker run --gpus all`; in Kubernetes, ask for nvidia.com/gpu)"
        )
    if _TORCHS_OWN.match(library):
        return f"it is torch's, and the installed torch is of another build or broken: {_REINSTALL}"
    if _NVIDIAS.match(library):
        return "it comes with torch's nvidia-… packages; reinstall them: `pip install --force-reinstall torch`"
    return (
        f"find its package, on Debian and Ubuntu with `apt-file search {library}`, on Fedora with "
        f"`dnf provides '*/{library}'`, and install it"
    )
