"""The fake engine's journals, one file a worker's place: what was begun, when, and what was begun again."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

Mark = dict[Path, int]
"""How long each journal was at a moment."""


class Journals:
    """All journals in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, place: str) -> Path:
        """The journal of the workers at a place."""
        return self._folder / place

    def mark(self) -> Mark:
        """Their lengths now."""
        return {path: path.stat().st_size for path in self._folder.iterdir()}

    def begun_since(self, mark: Mark) -> list[str]:
        """The ids of the requests that were begun since then, by anyone, once for each beginning."""
        return [line[1] for path in self._folder.iterdir() for line in _lines(path, first=mark.get(path, 0))]

    def begun_by(self, path: Path, pid: int | None, *, until: Mark) -> set[str]:
        """The ids of what that engine had begun until then."""
        return {line[1] for line in _lines(path, last=until.get(path, 0)) if line[0] == str(pid)}

    def begun_at(self, place: str) -> int:
        """How many requests were begun at that place in all."""
        return sum(1 for _ in _lines(self.of(place)))

    def begun_between(self, path: Path, first: Mark, last: Mark) -> int:
        """How many requests were begun at that place between the two moments."""
        return sum(1 for _ in _lines(path, first=first.get(path, 0), last=last.get(path, 0)))

    def times(self) -> Counter[str]:
        """How often each request was begun in all."""
        return Counter(self.begun_since({}))

    def begun_again(self) -> int:
        """Beginnings beyond the first of each request."""
        return sum(times - 1 for times in self.times().values())


def _lines(path: Path, *, first: int = 0, last: int | None = None) -> Iterable[list[str]]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(first)
        data = file.read() if last is None else file.read(last - first)
    return [line.split() for line in data.decode().splitlines()]
