"""What every test shares: a clean environment, hypothesis settings, and what becomes of a missing server."""

import os
from collections.abc import Callable
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


@pytest.fixture(scope="session")
def missing_server() -> Callable[[str], NoReturn]:
    """Call it where a real server cannot be had: it fails in CI and skips on a laptop."""

    def missing(reason: str) -> NoReturn:
        if CI:
            pytest.fail(f"{reason}; in CI every server must be there")
        pytest.skip(reason)

    return missing
