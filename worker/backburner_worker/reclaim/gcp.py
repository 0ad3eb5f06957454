"""Notices of Compute Engine: a spot VM is told some 30 s before it is stopped.

Host maintenance is not asked for: a VM with GPUs is told of it an hour before, and that hour's work is worth more than
a drain that begins early. It ends as every shutdown does, by SIGTERM.
"""

from backburner_worker.reclaim.metadata import MetadataService
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource, NoticeUnavailable, ReclaimNotice

_URL = "http://metadata.google.internal"
_POLL_SECONDS = 2.0
_NOTICE_SECONDS = 28.0
"""From the preemption on there are 30; it was up to two seconds ago."""


class GcpNotices(NoticeSource):
    """The metadata server of the VM."""

    kind = NoticeKind.GCP
    poll_seconds = _POLL_SECONDS

    def __init__(self, url: str = _URL) -> None:
        self._service = MetadataService(url)

    async def look(self) -> ReclaimNotice | None:
        """The preemption, if there is one."""
        _, text = await self._service.ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
        match text:
            case "TRUE":
                return ReclaimNotice(self.kind, "preempted", _NOTICE_SECONDS)
            case "FALSE":
                return None
            case _:
                raise NoticeUnavailable(f"the metadata server's answer is not understood: {text:.100}")

    async def close(self) -> None:
        """End the connection."""
        await self._service.close()
