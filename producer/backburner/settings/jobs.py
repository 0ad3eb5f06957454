"""Settings of jobs and of the requests in them."""

from typing import Annotated

from pydantic import BaseModel, Field

from backburner_schemas.request import DEFAULT_MAX_BODY_BYTES


class JobSettings(BaseModel):
    """Jobs and requests: whose they are, how large, and when a job is over."""

    tenant: str = "default"
    """Tenant of jobs that are submitted with these settings, and of messages that name none."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = DEFAULT_MAX_BODY_BYTES
    """Bytes in one request at most."""
    freeze_grace_seconds: Annotated[float, Field(ge=0)] = 180.0
    """Seconds that late results get after a deadline or a cancel, before the job is frozen."""
