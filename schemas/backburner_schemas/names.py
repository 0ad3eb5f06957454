"""The names that an address consists of, and lanes: which of them can be trusted in a key, a topic or a path."""

import re
from enum import StrEnum
from typing import Literal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_STRING_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_MODEL_NAME_CHARACTERS = 256
"""Characters in a model's name at most, as requests and pools have it."""

MAX_INDEX = 2**53 - 1
"""The largest index: the largest integer that every JSON reader represents exactly."""


class Lane(StrEnum):
    """A priority within a pool; beside the three that users choose there is `retry`."""

    HIGH = "high"
    """Before the others, by weight."""
    NORMAL = "normal"
    """The default."""
    LOW = "low"
    """After the others, by weight; never starved."""
    RETRY = "retry"
    """What workers retry; users cannot choose it."""


Priority = Lane | Literal["high", "normal", "low"]
"""How users write a priority: one of the three lanes that they may choose, or its name."""

PRIORITIES: tuple[Lane, ...] = (Lane.HIGH, Lane.NORMAL, Lane.LOW)
"""The lanes that a user may choose."""


def is_name(value: object) -> bool:
    """Whether the value can be a tenant's or a job's name: it is safe as one segment of a key."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and ".." not in value


def is_model_name(name: str) -> bool:
    """Whether a pool, an adapter or an alias can have that name: printable, not blank, of a bounded length."""
    return 0 < len(name) <= MAX_MODEL_NAME_CHARACTERS and name.isprintable() and name.strip() == name


def is_index(value: object) -> bool:
    """Whether the value can be an index: an integer from 0 in jobs, a short safe string in streams."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return 0 <= value <= MAX_INDEX
    return isinstance(value, str) and _STRING_INDEX.fullmatch(value) is not None and ".." not in value
