"""Settings of the watch for notices that the machine is taken back."""

from pydantic import model_validator

from backburner.settings.group import SettingGroup
from backburner_worker.reclaim.notice import NoticeKind


class ReclaimSettings(SettingGroup):
    """Reclaim: how a worker learns that its machine is about to be taken back, so that it drains in time."""

    reclaim_notices: str = ""
    """Where notices are looked for, comma-separated: `node` (taints of the Kubernetes node), `aws`, `gcp`, `azure` (the
    machine's metadata service); nowhere if not set."""
    node_name: str = ""
    """Name of the Kubernetes node that the worker runs on, for `node` in `BACKBURNER_RECLAIM_NOTICES`."""

    @model_validator(mode="after")
    def _notices_can_be_looked_for(self) -> "ReclaimSettings":
        if NoticeKind.NODE in self.notice_kinds and not self.node_name:
            raise ValueError(
                "BACKBURNER_RECLAIM_NOTICES has `node`, which needs BACKBURNER_NODE_NAME; set it from the field "
                "spec.nodeName of the pod"
            )
        return self

    @property
    def notice_kinds(self) -> tuple[NoticeKind, ...]:
        """Where notices are looked for, each once, in the order given. Raises `ValueError` for an unknown one."""
        named = dict.fromkeys(part.strip() for part in self.reclaim_notices.split(",") if part.strip())
        unknown = [name for name in named if name not in set(NoticeKind)]
        if unknown:
            raise ValueError(
                f"BACKBURNER_RECLAIM_NOTICES: {unknown[0]!r} is unknown; use one or several of {', '.join(NoticeKind)}"
            )
        return tuple(NoticeKind(name) for name in named)
