"""Paced jobs that never run out while faults are tried on a deployment, and the verdict of the independent checker."""

import time
from dataclasses import dataclass, field
from typing import Any

from harness.deployment import Deployment
from harness.engine_journals import EngineJournals

_MIN_WAITING = 2000
_MORE = 4000
"""Enough for each partition to get some: a dispatcher sends turns of some 512 requests to one partition."""
_END_SECONDS = "300"
_JUDGE_SECONDS = 600.0
_UNCOMMITTED = "backburner_deliveries_uncommitted"


@dataclass(slots=True)
class PacedLoad:
    """Stored jobs of a deployment, which its dispatchers send."""

    deployment: Deployment
    journals: EngineJournals
    jobs: dict[str, int] = field(default_factory=dict)
    """How many requests each has."""
    may_be_redone: int = 0
    """What workers that were struck held uncommitted: so much may run twice."""

    def submit(self, count: int) -> None:
        """One more job."""
        name = f"paced-{len(self.jobs) + 1}"
        self.deployment.clients.program("submit", f"{name}={count}", "--stored")
        self.jobs[name] = count

    def under_way(self, *workers: str) -> None:
        """Returns when work runs, in these workers too, and enough of it waits; submits more where it does not."""
        if sum(self.jobs.values()) - len(self.journals.times()) < _MIN_WAITING:
            self.submit(_MORE)
        before = self.journals.mark()
        counts = {worker: len(self.journals.begun_by(worker)) for worker in workers}

        def runs() -> bool:
            busy = all(len(self.journals.begun_by(worker)) > count for worker, count in counts.items())
            return busy and bool(self.journals.begun_since(before))

        self.deployment.cluster.until(runs, f"requests that begin, in {', '.join(workers) or 'any worker'}")

    def uncommitted(self, worker: str) -> int:
        """How many deliveries a worker holds that would come again if it vanished now; its engine's begun ones too."""
        return int(self.deployment.metric(worker, _UNCOMMITTED))

    def striking(self, *workers: str) -> None:
        """These workers are about to vanish: what they hold may run twice."""
        # Between this look and the end of it they go on; what that is at most is a look's worth more.
        self.may_be_redone += sum(self.uncommitted(worker) + _A_LOOK for worker in workers)

    def redelivered(self, began: float, mark: Any, held: set[str]) -> float:
        """Seconds since `began` until something that a worker had begun before `mark` was begun again by anyone."""
        again = lambda: held & set(self.journals.begun_since(mark))  # noqa: E731 - the one use is the next line
        self.deployment.cluster.until(again, "a request of the worker that vanished, begun again")
        return time.monotonic() - began

    def finish(self) -> dict[str, Any]:
        """Wait until every job is frozen; the checker's verdict over all of it."""
        words = [f"{name}={count}" for name, count in self.jobs.items()]
        verdict: dict[str, Any] = self.deployment.clients.program(
            "judge", "fake", _END_SECONDS, *words, part="admin", seconds=600
        )
        return verdict


_A_LOOK = 24
"""Requests that a worker may begin between the look at its page and its end: as many as run at once."""
