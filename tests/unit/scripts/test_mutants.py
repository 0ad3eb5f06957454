"""What `make mutants` makes of what mutmut found: what lives is explained, and what is explained lives."""

import json

import mutants
import pytest
from mutants import Alive, Module

MODULE = Module("schemas/backburner_schemas/keys.py", ("tests/unit/schemas/test_keys.py",))
CODES = {"backburner_schemas.keys.x_pool__mutmut_1": 1, "backburner_schemas.keys.xǁSegmentNameǁparse__mutmut_2": 0}
PARSE = Alive("keys", "SegmentName.parse", "return None", "return 1")


@pytest.fixture
def found(monkeypatch, tmp_path):
    """Write codes of mutants as mutmut does, by the mutant's name; those that live became `return 1`."""
    monkeypatch.setattr(mutants, "WORK", tmp_path)
    monkeypatch.setattr(
        mutants,
        "get_diff_for_mutant",
        lambda *_, **__: "--- a\n+++ b\n@@\n def f():\n-    return None\n+    return 1\n",
    )

    def write(codes, test="tests/unit/schemas/test_keys.py::test_a"):
        made = tmp_path / "keys" / "mutants"
        (made / "backburner_schemas").mkdir(parents=True)
        (made / "backburner_schemas" / "keys.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
        (made / "mutmut-stats.json").write_text(json.dumps({"duration_by_test": {test: 0.1}}))

    return write


def test_a_mutant_that_lives_is_named_by_what_it_changes(found):
    found(CODES)
    verdict = mutants.judge(MODULE, {})
    assert (verdict.mutants, verdict.killed, verdict.unexplained, verdict.holds) == (2, 1, [PARSE], False)


def test_one_that_is_explained_may_live_where_few_do(found):
    found(CODES | {f"backburner_schemas.keys.x_pool__mutmut_{number}": 3 for number in range(3, 21)})
    verdict = mutants.judge(MODULE, {PARSE: "equal"})
    assert (verdict.mutants, verdict.allowed, verdict.unexplained, verdict.holds) == (20, [PARSE], [], True)


def test_many_that_are_explained_are_too_many(found):
    found(CODES)
    assert not mutants.judge(MODULE, {PARSE: "equal"}).holds


def test_one_that_no_test_reaches_lives_and_one_that_runs_for_ever_does_not(found):
    found({"backburner_schemas.keys.x_pool__mutmut_1": 33, "backburner_schemas.keys.x_pool__mutmut_2": -24})
    verdict = mutants.judge(MODULE, {})
    assert (verdict.killed, verdict.out_of_bounds, len(verdict.unexplained)) == (1, 1, 1)


def test_an_explanation_of_a_mutant_that_is_dead_is_too_much(found):
    found({"backburner_schemas.keys.x_pool__mutmut_1": 1})
    other = Alive("codec", "decode", "a", "b")
    assert list(mutants.stale([mutants.judge(MODULE, {})], {PARSE: "equal", other: "equal"})) == [PARSE]


def test_a_run_that_was_cut_off_proves_nothing(found):
    found({"backburner_schemas.keys.x_pool__mutmut_1": None})
    with pytest.raises(RuntimeError, match="were not run"):
        mutants.judge(MODULE, {})


def test_tests_that_pytest_cannot_find_again_prove_nothing(found):
    found(CODES, test="::test_a")
    with pytest.raises(RuntimeError, match="without their file"):
        mutants.judge(MODULE, {})


def test_every_module_and_test_that_is_listed_exists():
    modules, reasons = mutants.read_listed()
    assert all((mutants.ROOT / path).is_file() for module in modules for path in (module.path, *module.tests))
    assert {one.module for one in reasons} <= {module.name for module in modules}
