"""The chart, rendered once by each Helm, and what was judged of it: counts that stand at the end of the run."""

from pathlib import Path

import chart_tools
import pytest
import yaml
from chart.definitions import strict
from chart.renders import NAMESPACE, NEWEST, RELEASE, Render, render_all, render_values
from extra_environment import InstallationFailed

_COUNTS = pytest.StashKey[dict[str, int]]()
_SHARED_CRDS = Path(__file__).parents[3] / "shared" / "kube" / "crds"


def pytest_configure(config):
    config.stash[_COUNTS] = {}


def pytest_terminal_summary(terminalreporter, config):
    if counts := config.stash[_COUNTS]:
        terminalreporter.section("the chart was held against")
        for what, number in counts.items():
            terminalreporter.write_line(f"{number:6,} {what}")


@pytest.fixture(scope="session")
def count(request):
    """`count(number, what)` adds to the list at the end of the run."""

    def add(number: int, what: str) -> None:
        counts = request.config.stash[_COUNTS]
        counts[what] = counts.get(what, 0) + number

    return add


@pytest.fixture(scope="session")
def tool(missing_server):
    """`tool(find, …)` finds a program; without it the test is skipped, in CI failed."""

    def found(find, *arguments):
        try:
            return find(*arguments)
        except InstallationFailed as error:
            missing_server(str(error))

    return found


@pytest.fixture(scope="session")
def every_render(tool, count) -> list[Render]:
    """Each values file of `ci/`, by both Helms."""
    tool(chart_tools.helm, 3)
    tool(chart_tools.helm, 4)
    renders = render_all()
    count(len(renders), "renders of the values files in ci/, by Helm 3 and 4, for the oldest and newest Kubernetes")
    return renders


@pytest.fixture(scope="session")
def renders(every_render) -> dict[str, Render]:
    """What Helm 4 made of each file for the newest Kubernetes, by the file's name."""
    return {one.name: one for one in every_render if (one.helm, one.kubernetes) == (4, NEWEST)}


@pytest.fixture
def render_with(tool):
    """`render_with(values)` is the objects, or the refusal, of the smallest installation with these values besides."""
    tool(chart_tools.helm, 4)

    def rendered(over, release=RELEASE, namespace=NAMESPACE, check=True):
        return render_values(over, release=release, namespace=namespace, check=check)

    return rendered


@pytest.fixture(scope="session")
def definitions_folder(missing_server) -> Path:
    """The folder with definitions of custom resources."""
    if not _SHARED_CRDS.is_dir():
        missing_server("there is no ../shared/kube/crds with the definitions of custom resources")
    return _SHARED_CRDS


@pytest.fixture(scope="session")
def definitions(definitions_folder):
    """The schema of each custom resource's version, by `apiVersion` and kind."""
    found = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in definitions_folder.glob("*.yaml"):
        for one in yaml.load_all(file.read_text(), Loader=loader):
            if one and one["kind"] == "CustomResourceDefinition":
                spec = one["spec"]
                for version in spec["versions"]:
                    schema = version["schema"]["openAPIV3Schema"]
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = strict(schema)
    return found
