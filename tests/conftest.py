"""What every test shares: a clean environment, hypothesis settings, and what becomes of a missing server."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Shared cores make any deadline a coin toss; in CI the same examples run each time.
hypothesis.settings.register_profile("backburner", deadline=None, derandomize=CI, print_blob=True)
# A quarter of the examples, for `make check`.
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("backburner"), max_examples=25)
# For `make mutants`: a mutant is told by any failure, so none is made smaller.
hypothesis.settings.register_profile(
    "mutants",
    hypothesis.settings.get_profile("quick"),
    derandomize=True,
    database=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
hypothesis.settings.load_profile("backburner")

# Settings of a running embedded stack (`. .backburner/env`) must not leak into the tests. What leads to an outside
# queue that is to be judged stays (docs/certify.md).
_OUTSIDE = ("BACKBURNER_KAFKA_", "BACKBURNER_TOPIC_") if os.environ.get("BACKBURNER_TEST_QUEUE_URL") else ()
_kept = ("BACKBURNER_TEST_", *_OUTSIDE)
for _name in [name for name in os.environ if name.startswith("BACKBURNER_") and not name.startswith(_kept)]:
    del os.environ[_name]


_QUICK = tuple(str(Path(__file__).parent / name) for name in ("unit", "golden"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what starts servers, file by file, and the files that load a model spread among the others.

    Side by side, few of those load at the same time then, and what is quick fills the end (`make test`).
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [path for path in files if not str(path).startswith(_QUICK)]
    loading = [path for path in slow if any(item.get_closest_marker("vllm") for item in files[path])]
    places = {path: place for place, path in enumerate(path for path in slow if path not in loading)}
    places |= {path: place * len(places) / len(loading) - 0.5 for place, path in enumerate(loading)}
    order = [*sorted(places, key=places.__getitem__), *(path for path in files if path not in places)]
    items[:] = [item for path in order for item in files[path]]


@pytest.fixture(scope="session")
def missing_server() -> Callable[[str], NoReturn]:
    """Call it where a real server cannot be had: it fails in CI and skips on a laptop."""

    def missing(reason: str) -> NoReturn:
        if CI:
            pytest.fail(f"{reason}; in CI every server must be there")
        pytest.skip(reason)

    return missing
