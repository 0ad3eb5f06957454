"""The exit codes of the process, for scripts. docs/cli.md lists them too."""

from enum import IntEnum

from backburner_schemas.errors import (
    ApiKeyNotFound,
    BackburnerError,
    JobError,
    JobNotFound,
    KubernetesUnavailable,
    LetterNotFound,
    PoolError,
    PoolNotFound,
    QueueDenied,
    QueueError,
    RequestFailed,
    RequestRefused,
    ResultTimeout,
    SettingsError,
    StoreDenied,
    StoredObjectBroken,
    StoreError,
)
from backburner_schemas.job import JobState
from backburner_schemas.status import BatchStatus


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    """It did what it was asked to do; a job that was waited for completed."""
    ENDED_BADLY = 1
    """A job was cancelled, expired or failed, a request failed, the counts do not agree, or something went wrong."""
    USAGE = 2
    """The command line, a setting or the input cannot be used; nothing was sent."""
    UNDECIDED = 3
    """It cannot be told: the job is a stream, which has no total to hold its records against, or a canary has had too
    few requests."""
    NOT_FOUND = 4
    """There is no such job, handle, dead letter, pool or API key."""
    AWAY = 5
    """Queue, object store or Kubernetes' API does not answer; the same command may work later."""
    TIMED_OUT = 6
    """The time given with --timeout is over; what was asked for goes on."""
    HUNG_UP = 129
    """SIGHUP: the terminal has gone; what was submitted goes on."""
    INTERRUPTED = 130
    """Ctrl-C; what was submitted goes on."""
    TERMINATED = 143
    """SIGTERM; what was submitted goes on."""


_BY_ERROR: tuple[tuple[type[BackburnerError], ExitCode], ...] = (
    # An error stands before those that it is a kind of.
    (StoreDenied, ExitCode.USAGE),
    (StoredObjectBroken, ExitCode.ENDED_BADLY),
    (StoreError, ExitCode.AWAY),
    (QueueDenied, ExitCode.USAGE),
    (QueueError, ExitCode.AWAY),
    (KubernetesUnavailable, ExitCode.AWAY),
    (JobNotFound, ExitCode.NOT_FOUND),
    (ApiKeyNotFound, ExitCode.NOT_FOUND),
    (LetterNotFound, ExitCode.NOT_FOUND),
    (PoolNotFound, ExitCode.NOT_FOUND),
    (ResultTimeout, ExitCode.TIMED_OUT),
    (SettingsError, ExitCode.USAGE),
    (RequestFailed, ExitCode.ENDED_BADLY),
    (JobError, ExitCode.USAGE),
    (PoolError, ExitCode.USAGE),
    (RequestRefused, ExitCode.USAGE),
)


def code_of_error(error: BackburnerError) -> ExitCode:
    """The exit code for a command that raised this."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.ENDED_BADLY)


def code_of_job(status: BatchStatus) -> ExitCode:
    """The exit code after waiting for this job: OK if it completed, unless not one request got its response."""
    counts = status.request_counts
    nothing_answered = counts.total > 0 and counts.completed == 0
    return ExitCode.OK if status.status is JobState.COMPLETED and not nothing_answered else ExitCode.ENDED_BADLY
