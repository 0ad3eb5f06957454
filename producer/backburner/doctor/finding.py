"""What one look found, as a value."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """Work goes on; something is slower, weaker or less safe than it could be, or could not be looked at."""
    WRONG = "wrong"
    """Work cannot go on, or a promise does not hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    subject: str
    """What was looked at, such as a topic's name."""
    level: Level
    message: str
    """What was found and, unless it is as it should be, what to do about it."""


def ok(subject: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, Level.OK, message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """It is not as it should be, and work goes on."""
    return Finding(subject, Level.WARNING, f"{message}; {remedy}")


def wrong(subject: str, message: str, remedy: str) -> Finding:
    """It has to be mended."""
    return Finding(subject, Level.WRONG, f"{message}; {remedy}")
