"""What a call that makes a batch says, and the job that it becomes. Pure."""

import re
from typing import Annotated, Literal

from pydantic import Field

from backburner.gateway.auth.principal import Principal
from backburner.gateway.files.file_object import LEAST_EXPIRY_SECONDS, MOST_EXPIRY_SECONDS, StoredFile
from backburner.gateway.http.call_body import CallBody
from backburner.submission.window import Window
from backburner_schemas import keys
from backburner_schemas.errors import CallRefused
from backburner_schemas.job import JobManifest, Metadata, StoredInput
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint

_WINDOW = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_MAX_WINDOW_SECONDS = 30 * 24 * 3600
"""As long as a file is kept, unless its upload says otherwise."""
_BYTES_PER_TOKEN = 4
_UNSERVED = frozenset({"/v1/moderations", "/v1/images/generations", "/v1/images/edits", "/v1/videos"})
"""Endpoints of OpenAI's that no engine here has."""


class ExpiresAfter(CallBody):
    """When a file goes."""

    anchor: Literal["created_at"] = "created_at"
    """Always `created_at`: the file's creation."""
    seconds: Annotated[int, Field(ge=LEAST_EXPIRY_SECONDS, le=MOST_EXPIRY_SECONDS)]
    """Seconds after that, from an hour to 30 days."""


class BatchCreate(CallBody):
    """A new batch; what OpenAI does not have comes last, from `priority` on."""

    input_file_id: Annotated[str, Field(max_length=255)]
    """The file of requests, uploaded with the purpose `batch`."""
    endpoint: Annotated[str, Field(max_length=64, examples=[Endpoint.CHAT])]
    """The endpoint that every request of the file names."""
    completion_window: Annotated[str, Field(max_length=32, examples=["24h"])]
    """How long the batch may take: `24h`, or any time up to 30 days, such as `90m` or `7d`."""
    metadata: Metadata | None = None
    """Up to 16 pairs of at most 64 and 512 characters."""
    output_expires_after: ExpiresAfter | None = None
    """When the result files go; they stay if not given."""
    priority: Literal["high", "normal", "low"] = "normal"
    """Before or after other batches' requests."""
    window: Window | None = None
    """The hours of each day in which requests are sent, such as those of the night."""

    def manifest(
        self, principal: Principal, file: StoredFile, *, now: float, max_requests: int, grace: float
    ) -> JobManifest:
        """The job of the batch, made at `now` by the store's clock; `grace` is in seconds.

        Raises `CallRefused` for what cannot be.
        """
        return JobManifest(
            id=keys.new_job_id(now),
            tenant=principal.tenant,
            created_at=now,
            deadline=now + window_seconds(self.completion_window),
            priority=Lane(self.priority),
            metadata=self.metadata or {},
            stored=StoredInput(key=keys.content(principal.tenant, file.id), bytes=file.bytes),
            window=self.window,
            endpoint=endpoint_of(self.endpoint),
            max_requests=max_requests,
            input_file_id=file.id,
            completion_window=self.completion_window,
            output_expires_after=None if self.output_expires_after is None else self.output_expires_after.seconds,
            created_by=principal.key_id or principal.subject,
            grace_seconds=grace,
        )


def window_seconds(window: str) -> int:
    """Seconds of a completion window. Raises `CallRefused`."""
    found = _WINDOW.fullmatch(window)
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _MAX_WINDOW_SECONDS:
        raise CallRefused(
            f"completion_window {window!r} must be a time up to 30 days, such as 24h, 90m or 7d",
            param="completion_window",
        )
    return seconds


def endpoint_of(name: str) -> Endpoint:
    """The endpoint of that name. Raises `CallRefused`."""
    try:
        return Endpoint(name)
    except ValueError:
        why = "is not served here" if name in _UNSERVED else "is no endpoint"
        raise CallRefused(f"{name!r} {why}; use one of {', '.join(Endpoint)}", param="endpoint") from None


def estimated_tokens(size: int) -> int:
    """About how many tokens that many bytes of requests are."""
    return size // _BYTES_PER_TOKEN
