"""The fake engines' journals, a folder a worker, on the machine that is every node's: what was begun, and how often."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

Mark = Mapping[Path, int]
"""How long each journal was at a moment."""
VOLUME = "/journals"
FILE = f"{VOLUME}/journal"


class EngineJournals:
    """All journals below a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        # Whatever user a pod runs as has to write there.
        folder.chmod(0o777)
        self._folder = folder

    def volumes(self) -> dict[str, object]:
        """Values of a group of workers, each of which gets a folder of its own in there."""
        return {
            "volumes": [{"name": "journals", "hostPath": {"path": str(self._folder)}}],
            "volumeMounts": [{"name": "journals", "mountPath": VOLUME, "subPathExpr": "$(BACKBURNER_WORKER_ID)"}],
            "env": {"BACKBURNER_FAKE_JOURNAL": FILE},
        }

    def mark(self) -> Mark:
        """Their lengths now."""
        return {path: path.stat().st_size for path in self._folder.glob("*/*")}

    def begun_by(self, worker: str) -> list[str]:
        """The ids of the requests that the worker of that name has begun, in order."""
        return self._ids(self._folder / worker / Path(FILE).name)

    def begun_since(self, mark: Mark) -> list[str]:
        """The ids of what was begun since then, by anyone, once for each beginning."""
        return [one for path in self._folder.glob("*/*") for one in self._ids(path, mark.get(path, 0))]

    def times(self) -> Counter[str]:
        """How often each request was begun in all."""
        return Counter(self.begun_since({}))

    def _ids(self, path: Path, first: int = 0) -> list[str]:
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(first)
            return [line.split()[1].decode() for line in file.read().splitlines() if line.count(b" ") == 2]
