"""What the runs of one release came to, counted from result records. Pure."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict

from backburner_schemas.envelope import MAX_FAILURES, is_place
from backburner_schemas.result import Blame, ResultFacts


class Release(NamedTuple):
    """A group of workers as it was rolled out once."""

    pool: str
    group: str
    release: str
    """Empty for workers that were told none."""


@dataclass(slots=True)
class Tally:
    """How runs ended: each attempt of a request is one."""

    ok: int = 0
    failed: int = 0
    refused: int = 0
    """Requests that were refused, or whose job ended first: no runs, and nobody's failure."""
    engine_seconds: list[float] = field(default_factory=list)
    """Of the responses that the engine gave."""

    @property
    def runs(self) -> int:
        """Attempts that ended with a response or a failure."""
        return self.ok + self.failed

    @property
    def failure_ratio(self) -> float | None:
        """Share of the runs that failed; None without a run."""
        return self.failed / self.runs if self.runs else None

    def engine_quantile(self, ratio: float) -> float | None:
        """Seconds in the engine that this share of the responses did not exceed; None without a response."""
        ordered = sorted(self.engine_seconds)
        return ordered[max(math.ceil(ratio * len(ordered)) - 1, 0)] if ordered else None

    def add(self, other: "Tally") -> None:
        """Count those of another too."""
        self.ok += other.ok
        self.failed += other.failed
        self.refused += other.refused
        self.engine_seconds += other.engine_seconds


class _Code(BaseModel):
    model_config = ConfigDict(extra="ignore")

    code: str


class _Record(BaseModel):
    """Of a result record, what is counted; the answer's body is not kept."""

    model_config = ConfigDict(extra="ignore")

    error: _Code | None = None
    backburner: ResultFacts


class Tallies(defaultdict[Release, Tally]):
    """A tally for each release that was seen."""

    def __init__(self) -> None:
        super().__init__(Tally)

    def count(self, line: bytes) -> None:
        """Count a record's line. Raises `ValueError` for one that is none.

        A failed attempt counts for the release that it failed at, whoever answered in the end.
        """
        record = _Record.model_validate_json(line)
        facts = record.backburner
        if facts.pool is None or facts.group is None:
            return
        tally = self[Release(facts.pool, facts.group, facts.release or "")]
        match Blame.of(record.error.code if record.error else None):
            case Blame.OK:
                tally.ok += 1
                if facts.engine_s is not None and not facts.cached:
                    tally.engine_seconds.append(facts.engine_s)
            case Blame.FAILED:
                tally.failed += 1
            case Blame.REFUSED:
                tally.refused += 1
        for place in (facts.failed_at or ())[-MAX_FAILURES:]:
            if is_place(place):
                group, _, release = place.partition("/")
                self[Release(facts.pool, unquote(group), unquote(release))].failed += 1
