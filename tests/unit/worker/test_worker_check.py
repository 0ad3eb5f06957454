"""`backburner-worker --check`, on stand-ins of vLLM; on the real one it is tests/contract/test_engine_check.py."""

import os
import subprocess
import sys

import pytest
from fake_vllm import MISSING, write_fakes, write_metadata

from backburner.local.programs.child import clean_environment

BOUND = 60


def worker(*arguments, path=None, **settings):
    env = clean_environment(**settings)
    if path is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), env.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "backburner_worker", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=BOUND, check=False)


def only_line(done, status):
    """The one line that it said, where it should."""
    assert done.returncode == status, done.stderr
    said, silent = (done.stdout, done.stderr) if status == 0 else (done.stderr, done.stdout)
    assert silent == ""
    (line,) = said.splitlines()
    return line


def test_the_fake_engine_needs_nothing():
    line = only_line(worker("--check", BACKBURNER_ENGINE="fake"), 0)
    assert "backburner 0." in line
    assert "fake engine" in line


def test_servers_elsewhere_need_not_answer_for_a_check():
    line = only_line(worker("--check", BACKBURNER_ENGINE="openai-http", BACKBURNER_ENGINE_URLS="http://127.0.0.1:9"), 0)
    assert "openai-http engine" in line


def test_servers_elsewhere_that_cannot_be_called_are_told():
    given = {"BACKBURNER_ENGINE_URLS": "http://127.0.0.1:9", "BACKBURNER_ENGINE_TOKEN_FILE": "/no/such/file"}
    assert "/no/such/file" in only_line(worker("--check", BACKBURNER_ENGINE="openai-http", **given), 1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"BACKBURNER_HTTP_PORT": "many"}, "BACKBURNER_HTTP_PORT"),
        ({"BACKBURNER_QUEUE_URL": "ftp://there"}, "the queue URL 'ftp://there' is not understood"),
        ({"BACKBURNER_FAKE_PACE": "warp=9"}, "BACKBURNER_FAKE_PACE"),
        ({"BACKBURNER_ALLOWED_PARAMETERS": "stream"}, "stream can never be allowed"),
        ({"BACKBURNER_WINDOW": "64"}, "BACKBURNER_WINDOW is now BACKBURNER_PREFETCH; rename it"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(settings, reason):
    assert reason in only_line(worker("--check", BACKBURNER_ENGINE="fake", **settings), 1)


@pytest.mark.parametrize("arguments", [(), ("--check",)])
@pytest.mark.parametrize(("name", "number"), [("vllm", "0.34.0"), ("vllm", "0.28.0")])
def test_a_release_outside_of_the_range_is_told_before_any_of_it_is_imported(tmp_path, arguments, name, number):
    write_metadata(tmp_path, name, number)
    for package in ("vllm", "torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("import os; os._exit(99)")
    settings = {"BACKBURNER_MODEL": "m", "BACKBURNER_STORE_URL": "memory:///r", "BACKBURNER_HTTP_PORT": "0"}
    settings["BACKBURNER_QUEUE_URL"] = "kafka://127.0.0.1:9"
    done = worker(*arguments, path=tmp_path, **settings)
    # A worker says that no other start goes better; a check has one way to fail.
    assert done.returncode == (1 if arguments else 2), done.stderr
    assert f"the installed {name} {number} is outside of the range" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="its extensions are Linux's")
def test_an_extension_that_cannot_load_is_told_with_the_library(tmp_path):
    write_metadata(write_fakes(tmp_path, broken=("_C",)), "vllm", "0.33.0+cpu")
    line = only_line(worker("--check", path=tmp_path), 1)
    assert f"vLLM's extension cannot load: {MISSING} is missing" in line


def test_a_name_that_is_gone_from_vllm_is_told(tmp_path):
    write_metadata(write_fakes(tmp_path), "vllm", "0.33.0+cpu")
    line = only_line(worker("--check", path=tmp_path), 1)
    assert "vLLM cannot be imported: ModuleNotFoundError: No module named 'vllm.engine'" in line


def test_the_usage_shows_it_and_other_arguments_are_refused():
    shown = worker("--help")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "--check" in shown.stderr
    refused = worker("--check", "twice")
    assert refused.returncode == 2
    assert refused.stderr == shown.stderr
