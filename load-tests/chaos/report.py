"""The result of a run: a row a fault, a verdict, and how both are shown and written."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chaos.checker import Verdict
from chaos.memory import Growth
from chaos.schedule import Fault


@dataclass(slots=True)
class FaultRow:
    """One fault and what came of it."""

    fault: Fault
    struck: str = ""
    """The worker's place, for those that strike one."""
    lasted: float = 0.0
    """Seconds of the fault itself."""
    recovered: float = 0.0
    """Seconds from its end until all that was in the system at the time had its record."""
    waiting: int = 0
    """Requests of its batch that no engine had begun when it came."""
    redone: int | None = None
    bound: int | None = None


@dataclass(slots=True)
class Report:
    """One run."""

    command: dict[str, Any] = field(default_factory=dict)
    rows: list[FaultRow] = field(default_factory=list)
    memory: list[Growth] = field(default_factory=list)
    """Of each part, where it was sampled."""
    verdict: Verdict = field(default_factory=Verdict)
    breaches: list[str] = field(default_factory=list)
    """Breaches that the harness itself saw: workers that ended by themselves, waits that never ended, redone work."""
    seconds: float = 0.0
    restarts: int = 0
    redelivered: int = 0
    """Deliveries that were redelivered, by the counters of workers alive at the end."""
    begun_again: int = 0
    """Beginnings beyond the first of each request."""
    client_errors: int = 0
    """Errors that clients got while servers were away, and recovered from."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.breaches and self.verdict.kept

    def show(self, console: Console) -> None:
        """Print the tables and the verdict."""
        if self.rows:
            console.print(self._faults())
            console.print(self._kinds())
        if self.memory:
            console.print(self._memory())
        verdict = self.verdict
        totals = (
            (verdict.accepted, "accepted"),
            (verdict.visible, "visible"),
            (verdict.answered, "answered"),
            (verdict.failed, "errors"),
            (verdict.letters, "dead letters"),
            (verdict.stored_twice, "stored twice and seen once"),
            (self.begun_again, "begun again"),
            (self.redelivered, "redelivered"),
            (self.restarts, "restarts"),
            (self.client_errors, "errors that clients got over"),
        )
        console.print(f"{self.seconds:.0f} s; " + ", ".join(f"{count:,} {what}" for count, what in totals))
        for breach in (*self.breaches, *verdict.breaches):
            console.print(f"BREACH {breach}", markup=False, highlight=False)
        console.print("every promise was kept" if self.kept else "promises were broken")

    def write(self, path: Path | None) -> None:
        """Write it as JSON, if a file is named."""
        if path is not None:
            path.write_text(json.dumps({**asdict(self), "kept": self.kept}, indent=2) + "\n")

    def _memory(self) -> Table:
        table = Table("part", "samples", "first MB", "last MB", "most MB", "MB an hour", "of at most", box=None)
        for one in self.memory:
            bound = "" if one.bound_mb_per_hour is None else f"{one.bound_mb_per_hour:.0f}"
            megabytes = (f"{value:.1f}" for value in (one.first_mb, one.last_mb, one.most_mb, one.mb_per_hour))
            table.add_row(one.part, str(one.samples), *megabytes, bound)
        return table

    def _faults(self) -> Table:
        table = Table("#", "fault", "worker", "lasted s", "recovered s", "redone", "bound", box=None)
        for row in self.rows:
            table.add_row(
                str(row.fault.number),
                row.fault.kind.value,
                row.struck,
                f"{row.lasted:.1f}",
                f"{row.recovered:.1f}",
                "" if row.redone is None else str(row.redone),
                "" if row.bound is None else str(row.bound),
            )
        return table

    def _kinds(self) -> Table:
        table = Table("fault", "times", "recovered s, median", "longest", "redone", "of at most", box=None)
        kinds = {row.fault.kind: [one for one in self.rows if one.fault.kind is row.fault.kind] for row in self.rows}
        for kind, rows in sorted(kinds.items()):
            took = sorted(row.recovered for row in rows)
            counted = [row for row in rows if row.redone is not None]
            table.add_row(
                kind.value,
                str(len(rows)),
                f"{statistics.median(took):.1f}",
                f"{took[-1]:.1f}",
                str(sum(row.redone or 0 for row in counted)) if counted else "",
                str(sum(row.bound or 0 for row in counted)) if counted else "",
            )
        return table
