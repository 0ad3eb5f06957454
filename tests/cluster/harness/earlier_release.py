"""The release before, from this repository's history: its sources on this machine, and its worker as an image."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.cluster import ROOT

COMMIT = "0b7838bd45"
"""The last commit before Backburner was installed on Kubernetes: the neighbour that this release must get on with."""
TAG = "before"
_GIT_SECONDS = 60.0
_PACKAGES = ("schemas", "producer", "worker")
_NEWER = ("load-tests", "tests/cluster")
"""The tests' own modules, which are this commit's."""


class NoHistory(Exception):
    """This working copy does not have the earlier commit: it was not cloned with git, or not whole."""


@dataclass(frozen=True, slots=True)
class EarlierRelease:
    """Its sources, unpacked."""

    folder: Path

    def settings(self, new: dict[str, str]) -> dict[str, str]:
        """A client's variables as that release takes them, from those of this one."""
        found = dict(new)
        # It has no setting for the store's authority yet, and refuses names that it does not know.
        found["SSL_CERT_FILE"] = found.pop("BACKBURNER_STORE_CA_FILE", "")
        folders = [self.folder / name for name in _PACKAGES] + [ROOT / name for name in _NEWER]
        return found | {"PYTHONPATH": ":".join(map(str, folders))}


def unpack(folder: Path) -> EarlierRelease:
    """The release in that folder, which is made. Raises `NoHistory`."""
    folder.mkdir()
    packed = subprocess.run(
        ("git", "-C", ROOT, "archive", "--format=tar", COMMIT),
        capture_output=True,
        timeout=_GIT_SECONDS,
        check=False,
    )
    if packed.returncode != 0:
        raise NoHistory(f"{NoHistory.__doc__} ({packed.stderr.decode().strip()})")
    subprocess.run(("tar", "xf", "-", "-C", folder), input=packed.stdout, timeout=_GIT_SECONDS, check=True)
    return EarlierRelease(folder)
