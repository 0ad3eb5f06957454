"""When a job's off-peak window is open. Pure: the time is an argument."""

from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from zoneinfo import ZoneInfo

from backburner_schemas.job import OffPeak

_MINUTE_SECONDS = 60


def is_open(window: OffPeak, now: float) -> bool:
    """Whether clocks on the wall there show a time within the window; one that ends as it begins is always open.

    `now` is in Unix seconds. Where clocks are set forward or back, the window follows them.
    """
    return _is_open_in(window, int(now // _MINUTE_SECONDS))


@lru_cache(maxsize=1024)
def _is_open_in(window: OffPeak, minute: int) -> bool:
    """The same for a minute since 1970: windows begin and end with one, and thousands of jobs can have the same."""
    start, end = time_of_day.fromisoformat(window.start), time_of_day.fromisoformat(window.end)
    shown = datetime.fromtimestamp(minute * _MINUTE_SECONDS, ZoneInfo(window.timezone)).time()
    if start < end:
        return start <= shown < end
    return start == end or shown >= start or shown < end


def opens_at(window: OffPeak, now: float) -> float:
    """When the window next opens, in Unix seconds; `now` if it is open."""
    if is_open(window, now):
        return now
    zone = ZoneInfo(window.timezone)
    start = time_of_day.fromisoformat(window.start)
    today = datetime.fromtimestamp(now, zone).date()
    # The day after tomorrow too: an opening can fall into the hour that a change of clocks leaves out.
    openings = (datetime.combine(today + timedelta(days=ahead), start, zone).timestamp() for ahead in range(3))
    return next(opening for opening in openings if opening > now)
