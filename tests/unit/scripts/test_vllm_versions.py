"""What `make vllm-versions` decides without running anything: which releases, what beside them, what came of it."""

import ast
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import vllm_wheel
from packaging.version import Version
from vllm_versions import (
    ALL_TESTS,
    NEWEST_TESTS,
    Outcome,
    chosen,
    environment,
    filled,
    outcome,
)
from vllm_wheel import NotToBeHad, Runnable, lacking, pip

ROOT = Path(__file__).parents[3]

RUNNABLE = Runnable("0.33.0", "0.33.0+cpu", "CPU build", Path("/out/vllm/0.33.0"))


def test_the_oldest_the_newest_and_the_newest_patch_of_each_between_are_chosen():
    available = ["0.28.0", "0.29.0", "0.29.2", "0.30.0", "0.30.1.post1", "0.33.0", "0.33.1rc1", "0.34.0"]
    found = chosen(map(Version, available), ">=0.29,<0.34")
    assert list(map(str, found)) == ["0.29.0", "0.29.2", "0.30.1.post1", "0.33.0"]


def test_nothing_is_chosen_where_the_range_admits_nothing():
    assert chosen([Version("0.28.0")], ">=0.29,<0.34") == []


def test_what_a_release_asks_for_anew_is_added_and_what_is_cudas_is_not():
    before = ["numpy", "flashinfer==0.7.0", "certifi>=2026.1", "torch==2.13.0", "pillow>=12"]
    wanted = [
        "numpy",  # here already
        "flashinfer==0.7.2",  # CUDA's: the lock left it out on purpose
        "certifi>=2026.9",  # here, but too old by now
        "torch==2.14.0",  # the kernels are built against the one that is here
        "Pillow>=13",  # here, and new enough
        "orjson>=3.11",  # new
        'windows-only; platform_system == "Windows"',
        'tracing>=1; extra == "otel"',
    ]
    installed = {"numpy": "2.3", "certifi": "2026.2", "torch": "2.13.0+cpu", "pillow": "13.1"}
    assert lacking(wanted, before, installed.get) == ["certifi>=2026.9", "orjson>=3.11"]


def test_what_was_too_old_for_the_lock_already_stays():
    # The lock was proven with it.
    assert lacking(["ffi==0.1.11"], ["ffi==0.1.11"], {"ffi": "0.1.15"}.get) == []


def test_the_tests_and_their_children_are_given_the_release_and_may_skip_nothing():
    env = environment(RUNNABLE, {"PYTHONPATH": "/mine", "PATH": "/bin"})
    assert env == {
        "PATH": "/bin",
        "CI": "true",
        "PYTHONPATH": "/out/vllm/0.33.0:/mine",
        "BACKBURNER_TEST_VLLM_RELEASE": "0.33.0+cpu",
    }
    installed = Runnable("0.32.0", "0.32.0", "CPU build", None)
    assert "PYTHONPATH" not in environment(installed, {})


def test_what_failed_or_was_skipped_did_not_pass():
    report = ET.fromstring(
        "<testsuites><testsuite>"
        "<testcase name='good'/><testcase name='bad'><failure/></testcase>"
        "<testcase name='broken'><error/></testcase><testcase name='left_out'><skipped/></testcase>"
        "</testsuite></testsuites>"
    )
    found = outcome(RUNNABLE, report, "2026-01-02")
    assert (found.passed, found.total, found.failed) == (1, 4, ("bad", "broken", "left_out"))
    assert not found.good
    assert found.line() == "vLLM 0.33.0 (CPU build): 1 of 4 tests passed; failed: bad, broken, left_out"


@pytest.mark.parametrize(
    ("passed", "total", "failed", "good"),
    [(4, 4, (), True), (0, 0, (), False), (3, 4, ("bad",), False), (4, 4, ("pytest ended with 3",), False)],
)
def test_a_release_is_good_when_all_ran_and_nothing_failed(passed, total, failed, good):
    assert Outcome(RUNNABLE, passed, total, failed, "2026-01-02").good is good


def test_the_table_stands_between_its_markers_with_the_newest_first():
    outcomes = [
        Outcome(Runnable(number, number, "CPU build", None), 4, 4, (), "2026-01-02") for number in ("0.9.0", "0.10.0")
    ]
    page = "above\n<!-- figures:releases -->\nold\n<!-- /figures:releases -->\nbelow\n"
    assert filled(page, outcomes).splitlines() == [
        "above",
        "<!-- figures:releases -->",
        "| vLLM | what ran | tests passed | day |",
        "| --- | --- | --- | --- |",
        "| 0.10.0 | CPU build | 4 of 4 | 2026-01-02 |",
        "| 0.9.0 | CPU build | 4 of 4 | 2026-01-02 |",
        "<!-- /figures:releases -->",
        "below",
    ]
    with pytest.raises(ValueError, match="figures:releases"):
        filled("no place", outcomes)


def test_every_test_of_the_real_engine_is_tried():
    of_the_engine = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "contract").glob("test_engine*.py")}
    # Servers elsewhere are spoken to by HTTP, whichever release they run.
    elsewhere = {"tests/contract/test_engine_servers.py", "tests/contract/test_engine_vllm_server.py"}
    assert of_the_engine - elsewhere <= set(ALL_TESTS)
    assert all((ROOT / path).is_file() for path in ALL_TESTS)


@pytest.mark.parametrize("test", NEWEST_TESTS.values(), ids=NEWEST_TESTS)
def test_each_of_the_small_choice_is_there_and_one_of_all(test):
    path, _, name = test.partition("::")
    assert path in ALL_TESTS
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_what_pip_cannot_do_is_tried_twice_and_told_with_its_last_line(monkeypatch, tmp_path):
    calls = tmp_path / "calls"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "no route" >&2\necho "no such host" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(vllm_wheel.sys, "executable", str(program))
    with pytest.raises(NotToBeHad, match=r"`pip download vllm` did not work, 2 times: no such host; check the network"):
        pip("download", "vllm")
    assert len(calls.read_text().splitlines()) == 2
