"""Notices on the Kubernetes node: the taints that are set before it is taken away.

A cordon is none: whoever wants the node empty evicts its pods, and SIGTERM tells them. Taints come before that, or
instead of it, and some with less time than a drain takes.
"""

import re
from typing import Any

from backburner.kubernetes import KubernetesApi
from backburner_schemas.errors import KubernetesError, SettingsError
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource, NoticeUnavailable, ReclaimNotice

_POLL_SECONDS = 5.0
_SPOT_SECONDS = 110.0
"""EC2 tells two minutes before, and the taint and the look take some of that."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
TAINTS: dict[str, float | None] = {
    "aws-node-termination-handler/spot-itn": _SPOT_SECONDS,
    "aws-node-termination-handler/asg-lifecycle-termination": None,
    "cloud.google.com/impending-node-termination": 13.0,  # Of 30 s, GKE leaves 15 to what is no system pod.
    "karpenter.sh/disrupted": _SPOT_SECONDS,
    "karpenter.sh/disruption": _SPOT_SECONDS,  # The same before Karpenter 1.0.
    "ToBeDeletedByClusterAutoscaler": None,
}
"""Keys of taints, and the seconds that are left when they are seen; None where whoever sets them waits for the pods."""


class NodeNotices(NoticeSource):
    """The taints of one node."""

    kind = NoticeKind.NODE
    poll_seconds = _POLL_SECONDS

    def __init__(self, api: KubernetesApi, node: str) -> None:
        """Raises `SettingsError` for what is no node's name."""
        if not _NAME.fullmatch(node):
            raise SettingsError(f"BACKBURNER_NODE_NAME {node[:80]!r} is no node's name; set it from spec.nodeName")
        self._api = api
        # From the API server's memory: it costs neither etcd nor, for hundreds of workers, much of anything.
        self._path = f"/api/v1/nodes/{node}?resourceVersion=0"

    async def look(self) -> ReclaimNotice | None:
        """The most pressing of the taints that say so, if there is one."""
        try:
            node = await self._api.get(self._path)
        except (KubernetesError, OSError, ValueError) as error:
            raise NoticeUnavailable(f"{error}; the worker's service account needs the right to get nodes") from error
        keys = [key for key in _taints(node or {}) if key in TAINTS]
        if not keys:
            return None
        first = min(keys, key=lambda key: _or_never(TAINTS[key]))
        return ReclaimNotice(self.kind, f"taint {first}", TAINTS[first])

    async def close(self) -> None:
        """End the connection."""
        await self._api.close()


def _taints(node: dict[str, Any]) -> list[str]:
    spec = node.get("spec")
    taints = spec.get("taints") if isinstance(spec, dict) else None
    if not isinstance(taints, list):
        return []
    return [key for taint in taints if isinstance(taint, dict) and isinstance(key := taint.get("key"), str)]


def _or_never(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
