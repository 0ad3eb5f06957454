"""Sequential custom_ids, as most inputs have: a run of any length is stored as its beginning and end."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_MAX_ID_NUMBERS = 10**18
"""Bounds the digits of a number, so that each custom_id is split in one way only."""
_MAX_RUNS = 32
"""Runs that are kept; each custom_id in none of them is compared with all."""


@dataclass(slots=True)
class _Run:
    prefix: str
    width: int
    first: int
    """The number in the first custom_id."""
    line: int
    """The line of it. Those that follow are one line apart."""
    length: int


class SequentialIds:
    """Runs of custom_ids, each the one before plus one, in lines that follow each other: `r7`, `r8`, or `id-007`."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, custom_ids: Sequence[str], line: int) -> bool:
        """Add custom_ids of lines that follow each other; False, and none is added, if they are not sequential.

        Also False if one of them might be in a run already.
        """
        found = _NUMBERED.fullmatch(custom_ids[0])
        if found is None:
            return False
        prefix, width, first = found[1], len(found[2]), int(found[2])
        if first + len(custom_ids) > _MAX_ID_NUMBERS:
            return False
        numbers = range(first, first + len(custom_ids))
        # Of a number without leading zeros each is as wide as it is; a format costs twice as much.
        if custom_ids != (
            [f"{prefix}{number:0{width}}" for number in numbers]
            if found[2].startswith("0")
            else [f"{prefix}{number}" for number in numbers]
        ):
            return False
        for run in self._runs:
            if run.prefix == prefix and run.first < first + len(custom_ids) and first < run.first + run.length:
                return False
        last = self._runs[-1] if self._runs else None
        if last is not None and self._follows(last, prefix, width, first, line):
            last.length += len(custom_ids)
            return True
        if len(self._runs) >= _MAX_RUNS:
            return False
        self._runs.append(_Run(prefix, width, first, line, len(custom_ids)))
        return True

    def find(self, custom_id: str) -> int | None:
        """The line of that custom_id, if it is in a run."""
        found = _NUMBERED.fullmatch(custom_id)
        if found is None:
            return None
        prefix, number = found[1], int(found[2])
        for run in self._runs:
            if (
                run.prefix == prefix
                and run.first <= number < run.first + run.length
                and custom_id == f"{prefix}{number:0{run.width}}"
            ):
                return run.line + number - run.first
        return None

    @staticmethod
    def _follows(run: _Run, prefix: str, width: int, first: int, line: int) -> bool:
        # Of numbers without leading zeros the width grows by itself.
        return (
            run.prefix == prefix
            and first == run.first + run.length
            and line == run.line + run.length
            and width == max(run.width, len(str(first)))
        )
