"""Why a stored job is not being sent, in the words that its status shows. Pure."""

from datetime import datetime
from zoneinfo import ZoneInfo

from backburner.dispatcher.off_peak import opens_at
from backburner_schemas.job import JobManifest, OffPeak, Waiting, WaitReason

_MAX_DETAIL_CHARACTERS = 500

CHECKING = Waiting(reason=WaitReason.VALIDATION, detail="its input is being read, checked and put in order")
PAUSED = Waiting(reason=WaitReason.PAUSED, detail="somebody paused it; `backburner resume JOB` lets it go on")
OTHERS_TURN = Waiting(
    reason=WaitReason.SHARE, detail="other jobs have their turn, by the tenants' shares and the jobs' deadlines"
)


def off_peak(window: OffPeak, now: float) -> Waiting:
    """It waits for its window, which is closed."""
    opens = datetime.fromtimestamp(opens_at(window, now), ZoneInfo(window.timezone))
    hours = f"{window.start} to {window.end}, {window.timezone}"
    return Waiting(
        reason=WaitReason.OFF_PEAK, detail=f"it is sent from {hours}; that begins at {opens:%Y-%m-%d %H:%M %Z}"
    )


def no_worker(pool: str) -> Waiting:
    """Nobody would answer it."""
    return Waiting(
        reason=WaitReason.NO_WORKER, detail=f"the pool {pool} has no live worker; it is sent as soon as one is warm"
    )


def backlog(pool: str, lane: str, bound: int) -> Waiting:
    """The workers have enough to do."""
    return Waiting(
        reason=WaitReason.BACKLOG,
        detail=f"{bound:,} requests are unanswered in the lane {lane} of the pool {pool}; it goes on as they are "
        "answered",
    )


def queue_refuses(trouble: str) -> Waiting:
    """The queue is away, or does not take it."""
    return Waiting(
        reason=WaitReason.DISPATCHER, detail=f"the queue does not take it: {trouble}"[:_MAX_DETAIL_CHARACTERS]
    )


def tried_again(trouble: str) -> Waiting:
    """It could not be sent, for a reason that may pass."""
    return Waiting(
        reason=WaitReason.DISPATCHER, detail=f"sending it failed and is tried again: {trouble}"[:_MAX_DETAIL_CHARACTERS]
    )


def no_place(jobs: int) -> Waiting:
    """Every dispatcher has as many jobs under way as it takes."""
    return Waiting(
        reason=WaitReason.DISPATCHER,
        detail=f"the dispatchers have other jobs under way, {jobs} each at most; it is taken up when one is through",
    )


def held_back(manifest: JobManifest, *, paused: bool, now: float) -> Waiting:
    """It is paused, or its window is closed."""
    if paused or manifest.window is None:
        return PAUSED
    return off_peak(manifest.window, now)
