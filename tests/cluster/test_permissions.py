"""What each part's service account may do on the API server: what it needs, and nothing more than everybody may."""

import re

import pytest
import yaml
from harness.rendered import rendered

_NAMESPACE = "permissions"
_RBAC = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_COLUMNS = re.compile(r"\s{2,}")
_SECRET = "bb-backburner-admin-key"
_NEEDS = {
    "gateway": set(),
    "dispatcher": set(),
    "worker": {("nodes", "[]", "[get]")},
    "bootstrap": {("secrets", "[]", "[create]"), ("secrets", f"[{_SECRET}]", "[get]")},
}
_WITHOUT_NOTICES = {**_NEEDS, "worker": set()}
_VALUES = {
    "image": {"registry": "registry.example.com"},
    "queue": {"url": "kafka://kafka:9092"},
    "store": {"url": "s3://results"},
}


def _group(notices):
    return {
        "model": {"name": "org/model", "path": "/model", "cache": {"kind": "image"}},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "reclaimNotices": notices,
    }


@pytest.fixture
def accounts(cluster, tmp_path):
    """Makes the service accounts and roles of the chart for these notices. Returns what tells each part's rights."""
    made = []

    def make(notices):
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump({**_VALUES, "workers": {"groups": {"chat": _group(notices)}}}))
        made.extend(rendered(cluster, _NAMESPACE, file, kinds=_RBAC))
        cluster.apply(*made, namespace=_NAMESPACE)
        found = {
            one["metadata"]["labels"]["app.kubernetes.io/component"]: one["metadata"]["name"]
            for one in made
            if one["kind"] == "ServiceAccount" and one["automountServiceAccountToken"] is False
        }
        everybody = _rights(cluster, "default")
        return lambda: {component: _rights(cluster, name) - everybody for component, name in found.items()}

    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    try:
        yield make
    finally:
        for one in made:
            cluster.kubectl("delete", one["kind"], one["metadata"]["name"], "-n", _NAMESPACE, check=False)
        cluster.kubectl("delete", "namespace", _NAMESPACE, "--wait=true", check=False)


def _rights(cluster, account):
    """Resources, names and verbs that a service account may use, by the API server's own list."""
    listed = cluster.kubectl(
        "auth",
        "can-i",
        "--list",
        "--no-headers",
        "-n",
        _NAMESPACE,
        "--as",
        f"system:serviceaccount:{_NAMESPACE}:{account}",
        "--as-group",
        "system:serviceaccounts",
        "--as-group",
        "system:authenticated",
    )
    rows = [_COLUMNS.split(line.strip()) for line in listed.splitlines()]
    # Resource, paths, names, verbs; paths stand for themselves in rows without a resource.
    return {(row[0], *(cell for cell in row[-2:])) for row in rows if len(row) == 4}


def test_service_accounts_may_do_what_their_part_needs_and_no_more(accounts, figures):
    assert accounts(["node"])() == _NEEDS
    figures.holds("service accounts: gateway and dispatcher may do nothing, the bootstrap makes Secrets and reads one")


def test_a_worker_without_notices_may_do_nothing(accounts, cluster, figures):
    rights = accounts([])
    assert rights() == _WITHOUT_NOTICES
    figures.holds("service accounts: a worker may read nodes where notices of a node's end are on, and else nothing")
    # A right too many would be seen.
    role = ("create", "role", "too-many", "--verb=list", "--resource=pods")
    cluster.kubectl(*role, "-n", _NAMESPACE)
    account = f"--serviceaccount={_NAMESPACE}:bb-backburner-gateway"
    cluster.kubectl("create", "rolebinding", "too-many", "--role=too-many", account, "-n", _NAMESPACE)
    cluster.until(lambda: rights()["gateway"] == {("pods", "[]", "[list]")}, "the right that was given")
