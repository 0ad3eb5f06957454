"""Turns the options of a submit into a job's manifest, and refuses those that are not valid."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError

from backburner.settings import Settings
from backburner.submission.window import Window
from backburner_schemas import keys
from backburner_schemas.errors import JobError
from backburner_schemas.job import DEFAULT_DEADLINE_SECONDS, JobManifest
from backburner_schemas.names import PRIORITIES, Lane, Priority, is_model_name, is_name

Deadline = float | timedelta | datetime
"""Seconds or a timedelta from now, or a point in time."""


def manifest_of(
    settings: Settings,
    *,
    now: float,
    tenant: str | None,
    job_id: str | None,
    priority: Priority,
    deadline: Deadline | None,
    metadata: Mapping[str, str] | None,
    pool: str | None,
    parent: str | None,
    model: str | None = None,
    stored: bool = False,
    window: str | None = None,
    timezone: str | None = None,
) -> JobManifest:
    """The manifest of a new job. Raises `JobError` for an option that is not valid.

    `now` is in Unix seconds by the store's clock, which its deadline is judged by.
    `stored`: a dispatcher sends it, within the window if there is one.
    """
    until = resolve_deadline(DEFAULT_DEADLINE_SECONDS if deadline is None else deadline, now, settings, stored=stored)
    if job_id is not None and not keys.has_manifest(job_id):
        raise JobError(f"a job id cannot begin with {keys.SINGLE} or {keys.STREAM}; choose another", param="job_id")
    if model is not None and not is_model_name(model):
        raise JobError(f"{model!r} is not a model's name; pass one that `backburner pools` lists", param="model")
    try:
        return JobManifest(
            id=keys.new_job_id(now) if job_id is None else checked_name(job_id, "job_id"),
            tenant=tenant_of(settings, tenant),
            created_at=now,
            deadline=until,
            priority=chosen_lane(priority),
            pool=pool,
            model=model,
            metadata=dict(metadata or {}),
            parent=parent,
            window=_off_peak(window, timezone, stored=stored),
            grace_seconds=settings.freeze_grace_seconds,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise JobError(f"{where}: {first['msg']}", param=where) from error


def _off_peak(window: str | None, timezone: str | None, *, stored: bool) -> Window | None:
    if window is None:
        if timezone is not None:
            raise JobError("a time zone is the window's; pass a window with it", param="timezone")
        return None
    if not stored:
        raise JobError("only a stored job waits for its window; pass stored=True (--stored)", param="window")
    start, dash, end = window.partition("-")
    if not dash:
        raise JobError(f"the window {window!r} is not understood; write it as 22:00-06:00", param="window")
    return Window(start=start.strip(), end=end.strip(), timezone=timezone or "UTC")


def resolve_deadline(deadline: Deadline, now: float, settings: Settings, *, stored: bool = False) -> float:
    """The deadline in Unix seconds.

    Raises `JobError` if it has passed, or is later than the broker keeps requests, unless the store keeps them.
    """
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise JobError(
                f"the deadline {deadline.isoformat()} has no time zone, so that nobody knows when it is; pass "
                "datetime.now(UTC) + timedelta(…), or .astimezone() for one in this machine's time",
                param="deadline",
            )
        until = deadline.timestamp()
    elif isinstance(deadline, timedelta):
        until = now + deadline.total_seconds()
    elif isinstance(deadline, (int, float)):
        until = now + deadline
    else:
        raise JobError(f"a deadline is seconds from now, a timedelta or a datetime, not {deadline!r}", param="deadline")
    if not until > now:
        raise JobError("the deadline has passed already; pass seconds from now, or a later time", param="deadline")
    if not stored and until > now + settings.topic_retention_seconds:
        raise JobError(
            f"the deadline is later than the broker keeps requests ({settings.topic_retention_seconds:,.0f} s); set "
            "an earlier one, submit a stored job (--stored), or raise BACKBURNER_TOPIC_RETENTION_SECONDS and the "
            "topics' retention with it",
            param="deadline",
        )
    return until


def chosen_lane(priority: Priority) -> Lane:
    """The priority, if users may choose it. Raises `JobError`."""
    if priority not in PRIORITIES:
        raise JobError(f"the priority {priority!r} is not one of {', '.join(PRIORITIES)}", param="priority")
    return Lane(priority)


def tenant_of(settings: Settings, tenant: str | None) -> str:
    """The tenant that was named, or the settings'. Raises `JobError`."""
    return settings.tenant if tenant is None else checked_name(tenant, "tenant")


def checked_name(value: str, what: str) -> str:
    """The value, if it can be part of a key. Raises `JobError`."""
    if not is_name(value):
        raise JobError(f"{what} {value!r} must match [A-Za-z0-9][A-Za-z0-9._-]{{0,254}} and hold no '..'", param=what)
    return value
