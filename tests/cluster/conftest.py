"""What the tests on a real Kubernetes share: one cluster, one broker, one store and one set of images for the session.

`make cluster-test` runs them, and nothing else does: they need root, and take their time. A test leaves the cluster as
it found it: its own namespaces are gone, and the nodes are there.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import cluster as clusters
from harness import kafka, object_store
from harness.clients import Clients
from harness.deployment import Deployment, deployment
from harness.figures import Figures
from harness.images import Images

from apache_kafka.release import KafkaMissing

_FIGURES = Figures()
_NODES = 2
_TEST_SECONDS = 900


def pytest_terminal_summary(terminalreporter):
    if _FIGURES.asserted or _FIGURES.measured or _FIGURES.left_out:
        terminalreporter.section("on the cluster")
        for line in _FIGURES.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures() -> Figures:
    """What was asserted and measured; it is printed at the end."""
    return _FIGURES


@pytest.fixture(scope="session")
def full() -> Callable[[str], None]:
    """Call it in a test that does not fit CI: it is skipped unless FULL is set, and named in the summary."""

    def only_in_full(what: str) -> None:
        if not os.environ.get("FULL"):
            _FIGURES.leave_out(f"{what}: FULL=1 runs it")
            pytest.skip("FULL=1 runs it")

    return only_in_full


@pytest.fixture(scope="session")
def cluster(missing_server):
    """A real Kubernetes of two nodes, or the one that kubeconfig names."""
    try:
        found = clusters.find_cluster()
    except clusters.ClusterMissing as error:
        missing_server(str(error))
    with clusters.running(found, nodes=_NODES) as running:
        for number in range(1, _NODES + 1) if running.is_own else ():
            clusters.make_gpu_node(running, number)
        yield running


@pytest.fixture
def own_cluster(cluster, figures, request):
    """The tests' own cluster, whose nodes may be lost; the test is skipped on somebody's."""
    if not cluster.is_own:
        figures.leave_out(f"{request.node.name}: it cuts power, holds a kubelet or stops the broker")
        pytest.skip("not on somebody's cluster")
    return cluster


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory) -> Path:
    """Where broker and store keep their data and logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def broker(cluster, servers_folder, missing_server):
    """Apache Kafka over SASL_SSL, with a user for each part."""
    if not cluster.is_own:
        try:
            yield kafka.outside()
        except clusters.ServerMissing as error:
            missing_server(str(error))
        return
    try:
        with kafka.start(cluster, servers_folder / "kafka") as running:
            yield running
    except KafkaMissing as error:
        missing_server(str(error))


@pytest.fixture(scope="session")
def store(cluster, servers_folder, missing_server):
    """An S3 server behind TLS with a private authority."""
    if not cluster.is_own:
        try:
            yield object_store.outside()
        except clusters.ServerMissing as error:
            missing_server(str(error))
        return
    with object_store.start(cluster, servers_folder) as running:
        yield running


@pytest.fixture(scope="session")
def images(cluster, figures, tmp_path_factory):
    """The product's images, built from `docker/` and loaded; on somebody's cluster, those of its registry."""
    found = Images(cluster, figures, tmp_path_factory.mktemp("images"))
    found.ensure()
    return found


@pytest.fixture(scope="session")
def custom_resources(cluster):
    """The definitions of what others' operators run; nobody but the API server knows them here."""
    _install(cluster, "crds")


@pytest.fixture(scope="session")
def keda(cluster):
    """KEDA is there."""
    _install(cluster, "keda")


@pytest.fixture(scope="session")
def metrics_server(cluster):
    """What CPU and memory pods take is known to autoscalers."""
    _install(cluster, "metrics")


def _install(cluster, what):
    if not cluster.is_own:
        _FIGURES.leave_out(f"what needs {what}: nothing is installed for the tests on somebody's cluster")
        pytest.skip("not on somebody's cluster")
    cluster.script(what)


@pytest.fixture(scope="session")
def clients(cluster, broker, store):
    """The clients of a deployment by its name, on this machine; what pods run is another matter."""
    return partial(Clients, cluster, broker, store)


@pytest.fixture(scope="session")
def deploy(clients, images):
    """A deployment by its name, as a context: `with deploy("first") as made: made.install(…)`."""

    def made(name: str, **options: Any) -> AbstractContextManager[Deployment]:
        return deployment(clients(name), images, **options)

    return made


def pytest_collection_modifyitems(items):
    # Images are built, pods move, and a node that is lost takes its time to be seen as such.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))
