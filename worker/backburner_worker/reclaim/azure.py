"""Notices of Azure: scheduled events of the VM that evict it or delete it, 30 s before or more."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from backburner_worker.reclaim.metadata import MetadataService
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource, NoticeUnavailable, ReclaimNotice

_URL = "http://169.254.169.254"
_POLL_SECONDS = 2.0
_HEADERS = {"Metadata": "true"}
_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
_TYPES = frozenset({"Preempt", "Terminate"})
"""After the others the machine is there again: they freeze it, or start it anew, which ends by SIGTERM."""


class AzureNotices(NoticeSource):
    """The VM's scheduled events."""

    kind = NoticeKind.AZURE
    poll_seconds = _POLL_SECONDS

    def __init__(self, url: str = _URL, *, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._service = MetadataService(url)
        self._now = now
        self._name: str | None = None

    async def look(self) -> ReclaimNotice | None:
        """The eviction of this VM that is due soonest, if there is one. Events are of all VMs of its group."""
        if self._name is None:
            _, self._name = await self._service.ask(_NAME, _HEADERS)
        _, text = await self._service.ask(_EVENTS, _HEADERS)
        try:
            found = [*self._mine(json.loads(text)["Events"], self._name)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoticeUnavailable(f"the scheduled events are not understood: {text:.100}") from error
        return min(found, key=lambda notice: notice.seconds or 0.0, default=None)

    async def close(self) -> None:
        """End the connection."""
        await self._service.close()

    def _mine(self, events: list[dict[str, Any]], name: str) -> Iterator[ReclaimNotice]:
        for event in events:
            if event["EventType"] not in _TYPES or name not in event["Resources"]:
                continue
            # Empty once it has begun.
            due = event.get("NotBefore")
            seconds = (parsedate_to_datetime(due) - self._now()).total_seconds() if due else 0.0
            yield ReclaimNotice(self.kind, f"scheduled event {event['EventType']}", max(0.0, seconds))
