"""A machine whose clock is wrong: all of this process sees another time, but for the store, which keeps its own."""

import time

from obstore.store import MemoryStore

from backburner.storage import Storage
from backburner.storage.clock import StoreClock

SHIFTS = {
    "200 s ahead": 200.0,
    "200 s behind": -200.0,
    "2 days ahead": 2 * 86_400.0,
    "an hour behind": -3_600.0,
}
_true_time = time.time


def set_clock(monkeypatch, seconds: float) -> None:
    """Set this machine's clock so many seconds ahead of the store's."""
    monkeypatch.setattr(time, "time", lambda: _true_time() + seconds)


def _wall() -> float:
    return time.time()


def store_elsewhere(objects: MemoryStore | None = None) -> Storage:
    """A store whose clock has to be measured, as that of a real one."""
    return Storage(objects or MemoryStore(), store_clock=StoreClock(wall=_wall))
