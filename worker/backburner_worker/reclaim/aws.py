"""Notices of EC2: a spot instance is told two minutes before it is interrupted.

A recommendation to rebalance is none: most of those instances go on for hours, and a warm model is worth more.
"""

import datetime as dt
import json
from collections.abc import Callable
from http import HTTPStatus

from backburner_worker.reclaim.metadata import POLL_SECONDS, MetadataService
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource, NoticeUnavailable, ReclaimNotice

_URL = "http://169.254.169.254"
_TOKEN_LIFE_SECONDS = 21600
_NOTICE_SECONDS = 120.0
"""EC2 tells no sooner; with a clock that is slow it would look as if there were more."""
_HOP_REMEDY = "set the instance's metadata hop limit to 2, so that pods reach it"


class AwsNotices(NoticeSource):
    """The instance metadata service, in its version 2."""

    kind = NoticeKind.AWS
    poll_seconds = POLL_SECONDS

    def __init__(self, url: str = _URL, *, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._service = MetadataService(url)
        self._now = now
        self._token: str | None = None

    async def look(self) -> ReclaimNotice | None:
        """The interruption that is due, if there is one."""
        status, text = await self._ask()
        if status == HTTPStatus.UNAUTHORIZED:
            self._token = None  # It ended.
            status, text = await self._ask()
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status == HTTPStatus.UNAUTHORIZED:
            raise NoticeUnavailable("the metadata service refuses the token that it gave")
        try:
            said = json.loads(text)
            due = dt.datetime.fromisoformat(said["time"])
            seconds = min(max(0.0, (due - self._now()).total_seconds()), _NOTICE_SECONDS)
            return ReclaimNotice(self.kind, f"spot instance-action {said['action']!s:.40}", seconds)
        except (ValueError, KeyError, TypeError) as error:
            raise NoticeUnavailable(f"the metadata service's instance-action is not understood: {text:.100}") from error

    async def close(self) -> None:
        """End the connection."""
        await self._service.close()

    async def _ask(self) -> tuple[int, str]:
        if self._token is None:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE_SECONDS)}
            try:
                _, self._token = await self._service.ask("/latest/api/token", life, method="PUT")
            except NoticeUnavailable as error:
                raise NoticeUnavailable(f"{error}; {_HOP_REMEDY}") from error
        return await self._service.ask(
            "/latest/meta-data/spot/instance-action",
            {"X-aws-ec2-metadata-token": self._token},
            accepted=(HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED),
        )
