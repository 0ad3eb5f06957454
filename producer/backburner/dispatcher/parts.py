"""The parts of a dispatcher: each is built once, when it is first asked for, from the settings and the parts it needs.

It is the map of who knows whom, and nothing runs here: read it from `dispatcher` on. `app` runs what is built.
"""

from functools import cached_property

from backburner.connections import Connections
from backburner.dispatcher.claim import Claim, JobKey
from backburner.dispatcher.dispatcher import Dispatcher
from backburner.dispatcher.job_run import JobRun, RunSettings
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.pending import PendingJob, PendingJobs
from backburner.dispatcher.planner import Planner
from backburner.dispatcher.sender import Sender
from backburner.dispatcher.settings import DispatcherSettings
from backburner.dispatcher.sharing.backlog import Backlog
from backburner.dispatcher.sharing.scheduler import Scheduler
from backburner.dispatcher.sharing.surveyor import Surveyor
from backburner.dispatcher.spool_room import SpoolRoom
from backburner.quotas import QuotasFile
from backburner.runtime.notifier import Notifier
from backburner.submission.cursor import new_owner

_HAND_BACK_SECONDS = 10.0
"""To tell in their cursors how far jobs are, once nothing is on its way any more."""


class Parts:
    """The parts of one dispatcher. Ask for them in a running event loop."""

    def __init__(self, settings: DispatcherSettings, connections: Connections, metrics: Metrics) -> None:
        self.settings = settings
        self.connections = connections
        self._metrics = metrics
        self._changed = Notifier()
        """Woken by whatever may let a job go on."""

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """What looks which jobs wait, and runs some of them."""
        settings = self.settings
        dispatcher = Dispatcher(
            self.connections.storage,
            owner=new_owner(),
            pending=PendingJobs(self.connections.storage),
            sender=self.sender,
            surveyor=self.surveyor,
            backlog=self.backlog,
            run_of=self._run_of,
            changed=self._changed,
            metrics=self._metrics,
            max_jobs=settings.dispatch_jobs,
            claim_seconds=settings.dispatch_claim_seconds,
            look_seconds=settings.dispatch_look_seconds,
            leave_seconds=settings.drain_seconds + _HAND_BACK_SECONDS,
        )
        self._metrics.watch(
            self.backlog, lambda: dispatcher.claims, dispatcher.waiting, now=self.connections.storage.clock.now
        )
        return dispatcher

    @cached_property
    def sender(self) -> Sender:
        """What puts turns of the claimed jobs onto the queue."""
        return Sender(
            self.connections.storage,
            self.connections.publisher,
            self.settings.queue.kind,
            scheduler=Scheduler(self.quotas.weight),
            backlog=self.backlog,
            changed=self._changed,
            metrics=self._metrics,
        )

    @cached_property
    def quotas(self) -> QuotasFile:
        """What share each tenant has. Raises `SettingsError` for a file that cannot be used."""
        return QuotasFile.of(self.settings)

    @cached_property
    def backlog(self) -> Backlog:
        """How much may lie on the queue."""
        return Backlog(self.settings.dispatch_backlog)

    @cached_property
    def surveyor(self) -> Surveyor:
        """What finds out how much does."""
        return Surveyor(
            self.connections.storage,
            self.connections.pools,
            self.backlog,
            seconds=self.settings.dispatch_look_seconds,
            own=self._sent_of,
            changed=self._changed.set,
        )

    @cached_property
    def planner(self) -> Planner:
        """What checks inputs and puts them in order."""
        return Planner(
            self.connections.storage,
            self.connections.pools,
            room=SpoolRoom(self.settings.dispatch_spool_bytes),
            max_bytes=self.settings.max_body_bytes,
        )

    def _sent_of(self, job: JobKey) -> int | None:
        return self.dispatcher.sent_of(job)

    def _run_of(self, pending: PendingJob, claim: Claim) -> JobRun:
        return JobRun(
            self.connections.storage,
            pending,
            claim,
            planner=self.planner,
            sender=self.sender,
            backlog=self.backlog,
            changed=self._changed,
            settings=RunSettings(
                claim_seconds=self.settings.dispatch_claim_seconds,
                look_seconds=self.settings.dispatch_look_seconds,
                grace_seconds=self.settings.freeze_grace_seconds,
                drain_seconds=self.settings.drain_seconds,
                max_body_bytes=self.settings.max_body_bytes,
            ),
            watch=self.connections.job_watch,
        )
