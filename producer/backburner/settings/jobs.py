"""Settings of jobs and of the requests in them."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup
from backburner_schemas.job import MAX_GRACE_SECONDS
from backburner_schemas.request import DEFAULT_MAX_BODY_BYTES


class JobSettings(SettingGroup):
    """Jobs and requests: whose they are, how large, and when a job is over."""

    tenant: str = "default"
    """Tenant of jobs that are submitted with these settings, and of messages that name none."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = DEFAULT_MAX_BODY_BYTES
    """Bytes of the largest request; a larger one is refused."""
    freeze_grace_seconds: Annotated[float, Field(ge=0, le=MAX_GRACE_SECONDS)] = 180.0
    """Seconds that late results get after a deadline or a cancel, before the job is frozen. It goes into each job that
    is made, so that nobody who ends it waits for less."""
