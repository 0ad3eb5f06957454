"""Whether a process can do its work now, and if not, why. Pure: it asks nobody, and may be read from any thread."""

from collections.abc import Mapping


class Readiness:
    """Ready is a process that has started and takes in work, while no system that it needs is away."""

    def __init__(self) -> None:
        self._joined = self._left = False
        # Replaced and never changed, so that a reader in another thread always sees a whole one.
        self._away: Mapping[str, str] = {}
        self._remarks: Mapping[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether the process takes in work."""
        return self._joined and not self._away

    @property
    def line(self) -> str:
        """The same in words, with what is away, or is wrong and does not keep it from its work."""
        if not self._joined:
            return "not ready: still starting, or stopping"
        away, remarks = self._away, self._remarks
        if away:
            return "not ready: " + _listed(away)
        return f"ready, but {_listed(remarks)}" if remarks else "ready"

    def join(self) -> None:
        """The process takes in work from now on, unless it was asked to stop while it started."""
        self._joined = not self._left

    def leave(self) -> None:
        """The process stops, for good."""
        self._joined, self._left = False, True

    def note(self, system: str, why: str | None) -> bool | None:
        """Record why that system is away, or None. Returns whether it went away or came back; None if neither."""
        was = system in self._away
        others = {name: line for name, line in self._away.items() if name != system}
        self._away = others if why is None else {**others, system: why}
        return None if was == (why is not None) else why is not None

    def remark(self, about: str, what: str | None) -> None:
        """Record what is wrong and keeps nobody from working, or None where nothing is."""
        others = {name: line for name, line in self._remarks.items() if name != about}
        self._remarks = others if what is None else {**others, about: what}


def _listed(lines: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {line}" for name, line in lines.items())
