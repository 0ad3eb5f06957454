"""The off-peak window of a job that is being made: its time zone has to be one that is known."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from backburner_schemas.job import OffPeak, TimeZoneName


def is_known_time_zone(name: str) -> bool:
    """Whether this machine's database of time zones has that one."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _known(name: str) -> str:
    if not is_known_time_zone(name):
        raise ValueError(
            "must be a time zone of the IANA database, such as Europe/Berlin; if the machine lacks it, install tzdata"
        )
    return name


class Window(OffPeak):
    """An `OffPeak` in a time zone that this machine knows."""

    timezone: Annotated[TimeZoneName, AfterValidator(_known)] = "UTC"
    """Name in the IANA database, such as `Europe/Berlin`."""
