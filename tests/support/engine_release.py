"""The release of vLLM that has to answer in tests of the real engine."""

import os

from backburner_worker.engine.vllm.release import installed_release


def expected_release() -> str:
    """The one that `make vllm-versions` is trying, else the one that is installed."""
    return os.environ.get("BACKBURNER_TEST_VLLM_RELEASE") or installed_release().version
