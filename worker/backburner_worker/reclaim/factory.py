"""Opens the sources of notices that the settings name."""

from collections.abc import Mapping

from backburner.kubernetes import KubernetesApi
from backburner_worker.reclaim.aws import AwsNotices
from backburner_worker.reclaim.azure import AzureNotices
from backburner_worker.reclaim.gcp import GcpNotices
from backburner_worker.reclaim.node import NodeNotices
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource
from backburner_worker.reclaim.settings import ReclaimSettings


def open_notice_sources(settings: ReclaimSettings, environment: Mapping[str, str]) -> list[NoticeSource]:
    """The sources, in the order of the setting; nothing is asked yet.

    Raises `SettingsError` for `node` where this is no pod, or one without a service account's token.
    """
    return [_open(kind, settings, environment) for kind in settings.notice_kinds]


def _open(kind: NoticeKind, settings: ReclaimSettings, environment: Mapping[str, str]) -> NoticeSource:
    match kind:
        case NoticeKind.NODE:
            return NodeNotices(KubernetesApi.in_cluster(environment), settings.node_name)
        case NoticeKind.AWS:
            return AwsNotices()
        case NoticeKind.GCP:
            return GcpNotices()
        case NoticeKind.AZURE:
            return AzureNotices()
