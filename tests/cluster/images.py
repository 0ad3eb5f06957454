"""Builds the product's images from `docker/`, with the cluster's own buildah, and loads them into its nodes.

Where a Dockerfile says `python:…-slim` or names vLLM's image, an image of this machine's Debian and Python stands in:
there is no registry to pull from. The worker on it has no vLLM, and runs the fake engine.
"""

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "localhost/base"
VLLM_BASE = "localhost/backburner/vllm-cpu:test"
"""vLLM's CPU build without Backburner, for `build_vllm_base`: stands in for vLLM's own image."""
PARTS = ("gateway", "dispatcher", "worker")
"""What every test needs; `worker-cpu` has two gigabytes, and is for FULL=1."""

_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements", "schemas", "producer", "worker")
_BUILD_SECONDS = 900
_MAX_SHOWN_CHARACTERS = 4000


@dataclass(frozen=True)
class Built:
    """An image that lies in every node."""

    name: str
    seconds: float
    """What building and loading took; a build that changes nothing takes its layers from the last one."""


def image_name(part: str, tag: str = "test") -> str:
    """The name under which a part's image is built; pods use it with `imagePullPolicy: Never`."""
    return f"localhost/backburner/{part}:{tag}"


def build(script: Path, part: str, tag: str = "test", *, source: Path = ROOT, base: str = BASE) -> Built:
    """Build a part's image from its Dockerfile, and load it into all nodes that are up.

    `source` may be a checkout of another commit: the Dockerfile is this one's all the same. `base` is what the part's
    own image stands on. Raises `AssertionError` with the build's last words.
    """
    check = "fake" if base == BASE else "vllm"
    arguments = {"VERSION": tag, "PYTHON_IMAGE": base}
    if part == "worker":
        arguments = {"VERSION": tag, "VLLM_IMAGE": base, "CHECK_ENGINE": check}
    elif part == "worker-accelerator":
        arguments = {"VERSION": tag, "ACCELERATOR_IMAGE": base, "CHECK_ENGINE": check}
    elif part == "worker-cpu":
        arguments["TORCH_INDEX"] = ""
    return _build(script, part, image_name(part, tag), source, arguments)


def build_vllm_base(script: Path) -> Built:
    """Build `VLLM_BASE` from worker-cpu's Dockerfile: two gigabytes, two minutes."""
    arguments = {"PYTHON_IMAGE": BASE, "TORCH_INDEX": ""}
    return _build(script, "worker-cpu", VLLM_BASE, ROOT, arguments, "--target", "vllm")


def _build(script: Path, part: str, name: str, source: Path, arguments: dict[str, str], *more: str) -> Built:
    started = time.monotonic()
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    with tempfile.TemporaryDirectory(prefix="backburner-image-") as folder:
        context = source if source == ROOT else _context(source, Path(folder))
        file = context / "docker" / part / "Dockerfile"
        command = ("build", name, context, "--layers", "--pull=never", "-f", file, *words, *more)
        # A base that is there is taken as it is: a new one, though alike, would cost all layers that stand on it.
        said = _run(script, *command)
        if said is not None and BASE in arguments.values():
            _make_base(script)
            said = _run(script, *command)
        assert said is None, f"building {name} did not work:\n{said}"
    return Built(name, time.monotonic() - started)


def _context(source: Path, folder: Path) -> Path:
    """The other commit's sources beside this one's Dockerfiles."""
    for name in _SOURCES:
        origin = source / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, folder / name)
    shutil.copytree(ROOT / "docker", folder / "docker")
    shutil.copy2(ROOT / ".dockerignore", folder / ".dockerignore")
    return folder


@cache
def _make_base(script: Path) -> None:
    said = _run(script, "base", BASE)
    assert said is None, f"making {BASE} did not work:\n{said}"


def _run(script: Path, *words: str | Path) -> str | None:
    """None if it worked, else its last words."""
    done = subprocess.run(
        ["nice", "-n", "5", script, *words], capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    return None if done.returncode == 0 else done.stderr[-_MAX_SHOWN_CHARACTERS:]
