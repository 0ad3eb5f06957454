"""`backburner-worker --check` on the real vLLM: it loads no model, so each run takes as long as importing vLLM does."""

import os
import subprocess
import sys

import pytest
from engine_release import expected_release

from backburner.local.programs.child import clean_environment

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

BOUND = 240


def check(**settings):
    if "CI" not in os.environ:
        pytest.importorskip("vllm")
    command = [sys.executable, "-m", "backburner_worker", "--check"]
    env = clean_environment(**settings)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=BOUND, check=False)


def test_a_check_tells_the_release_and_reads_the_arguments_without_a_model():
    done = check(BACKBURNER_MODEL="/no/such/model", BACKBURNER_ENGINE_ARGS="--max-model-len 8192 --max-num-seqs 256")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert f"vLLM {expected_release()} (CPU build, torch " in line
    assert "its kernels load" in line
    assert "BACKBURNER_ENGINE_ARGS understood" in line


def test_a_check_names_the_argument_that_vllm_does_not_take():
    done = check(BACKBURNER_MODEL="/no/such/model", BACKBURNER_ENGINE_ARGS="--max-model-length 8192")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "BACKBURNER_ENGINE_ARGS" in line
    assert "--max-model-length" in line
