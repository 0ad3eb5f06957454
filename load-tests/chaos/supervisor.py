"""Starts again what ends at any place, as a supervisor does, and notes what ended without a reason."""

import asyncio
import time

from backburner.local.programs.child import describe
from chaos.place import Place

_RESTART_SECONDS = 0.2
_TEND_SECONDS = 0.05
_STOP_SECONDS = 30.0


class Supervisor:
    """All places."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.ends: list[str] = []
        """Ends without a fault."""
        self._due: dict[str, float] = {}

    @property
    def manned(self) -> list[Place]:
        """The places that have a process, or will have one again."""
        return [place for place in self.places if not place.retired]

    @property
    def restarts(self) -> int:
        """How many processes were started after the first of their place."""
        return sum(place.started - 1 for place in self.places)

    def add(self, place: Place) -> None:
        """Start a process there, and look after the place from now on."""
        self.places.append(place)
        place.start()

    async def tend(self) -> None:
        """Look after them, until cancelled."""
        while True:
            for place in self.places:
                self._look_at(place)
            await asyncio.sleep(_TEND_SECONDS)

    def _look_at(self, place: Place) -> None:
        if (due := self._due.get(place.name)) is not None:
            if time.monotonic() >= due:
                del self._due[place.name]
                place.start()
            return
        status = place.child.exit_status()
        if status is None or (place.retired and place.ends_expected is None):
            return
        if place.ends_expected is None and not place.any_may_end:
            self.ends.append(f"{place.name} ended by itself with {describe(status)}:\n{place.child.tail()}")
        elif place.asked_to_end and status != 0:
            self.ends.append(f"{place.name} was asked to end and ended with {describe(status)}:\n{place.child.tail()}")
        if place.retired:
            place.ends_expected = None
        else:
            self._due[place.name] = time.monotonic() + _RESTART_SECONDS

    def stop(self) -> None:
        """SIGTERM to all; what is left is killed."""
        for place in self.places:
            place.child.ask_to_stop()
        for place in self.places:
            place.child.stop(grace=_STOP_SECONDS)
