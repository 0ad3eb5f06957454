"""A worker's settings: what cannot work is refused at the start, by the name of its variable."""

import json
import subprocess
import sys

import pytest

from backburner.local.programs.child import clean_environment
from backburner.runtime.failure import exit_status, reasons
from backburner_schemas.errors import UNUSABLE_STATUS, EngineLost, SettingsError
from backburner_schemas.names import Lane
from backburner_worker import __main__ as program
from backburner_worker.settings import WorkerSettings


def test_a_grace_that_late_segments_could_miss_is_refused():
    with pytest.raises(SettingsError, match="BACKBURNER_FREEZE_GRACE_SECONDS"):
        WorkerSettings.load(freeze_grace_seconds=60.0)


def test_lanes_share_by_the_weights_that_are_set():
    weights = WorkerSettings.load(lane_weights="high=5,low=2").weights
    assert weights == {Lane.HIGH: 5, Lane.NORMAL: 1, Lane.LOW: 2, Lane.RETRY: 1}


@pytest.mark.parametrize("weights", ["high", "urgent=3", "high=0", "high=-1", "high=many"])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(SettingsError, match="BACKBURNER_LANE_WEIGHTS"):
        WorkerSettings.load(lane_weights=weights)


def test_a_name_with_a_typing_error_suggests_the_right_one(monkeypatch):
    monkeypatch.setenv("BACKBURNER_DRAIN_SECOND", "5")
    with pytest.raises(SettingsError, match="BACKBURNER_DRAIN_SECONDS"):
        WorkerSettings.load()


def test_a_value_of_the_wrong_kind_names_its_variable(monkeypatch):
    monkeypatch.setenv("BACKBURNER_HTTP_PORT", "http")
    with pytest.raises(SettingsError, match="BACKBURNER_HTTP_PORT"):
        WorkerSettings.load()


def test_the_reasons_of_an_end_are_told_only_if_all_of_them_have_a_remedy():
    lost, unknown = EngineLost(), ValueError("a bug")
    assert reasons(ExceptionGroup("", [ExceptionGroup("", [lost])])) == [lost]
    assert reasons(ExceptionGroup("", [lost, unknown])) == []


def test_only_what_no_other_start_can_mend_ends_a_worker_as_unusable():
    setting, lost = SettingsError("a library is missing"), EngineLost()
    assert exit_status(setting) == UNUSABLE_STATUS
    assert exit_status(ExceptionGroup("", [setting])) == UNUSABLE_STATUS
    assert exit_status(lost) == 1
    assert exit_status(ExceptionGroup("", [setting, lost])) == 1


def test_an_error_of_several_settings_is_told_as_it_is():
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load(lane_weights="foo")
    assert str(caught.value) == "BACKBURNER_LANE_WEIGHTS: 'foo' is not LANE=WEIGHT with a weight from 1"


@pytest.mark.parametrize("pool", ["Qwen/Qwen3", "a b", "UPPER", "a" * 41])
def test_a_pool_that_no_topic_can_carry_is_refused(pool):
    with pytest.raises(SettingsError, match="BACKBURNER_POOL"):
        WorkerSettings.load(pool=pool)


def test_a_pool_is_taken_as_it_is():
    assert WorkerSettings.load(pool="qwen3-8b").pool == "qwen3-8b"
    assert WorkerSettings.load().pool is None


def test_ctrl_c_while_the_model_loads_ends_without_a_traceback(monkeypatch):
    async def interrupted(_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("backburner_worker.app.run_worker", interrupted)
    monkeypatch.setattr(program, "configure", lambda _level: None)
    monkeypatch.setattr("sys.argv", ["backburner-worker"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 130


def test_a_variable_that_was_renamed_ends_a_worker_as_unusable(monkeypatch):
    monkeypatch.setenv("BACKBURNER_WINDOW", "64")
    monkeypatch.setattr("sys.argv", ["backburner-worker"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == UNUSABLE_STATUS


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--nonsense", 2)])
def test_an_argument_is_told_where_the_settings_are_and_starts_no_worker(monkeypatch, capsys, argument, code):
    monkeypatch.setattr("sys.argv", ["backburner-worker", argument])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == code
    assert "docs/settings.md" in capsys.readouterr().err


def test_a_setting_that_does_not_parse_ends_the_worker_with_a_line_as_every_reason_does():
    ended = subprocess.run(
        [sys.executable, "-m", "backburner_worker"],
        env=clean_environment(BACKBURNER_HTTP_PORT="many"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = ended.stderr.splitlines()
    reason = json.loads(line)
    assert (ended.returncode, reason["level"], reason["code"]) == (2, "error", "invalid_setting")
    assert reason["error"].startswith("BACKBURNER_HTTP_PORT cannot be used")


@pytest.mark.parametrize(("given", "number"), [("auto", 0), ("0", 0), ("24", 24)])
def test_concurrency_is_a_number_or_auto(monkeypatch, given, number):
    monkeypatch.setenv("BACKBURNER_CONCURRENCY", given)
    assert WorkerSettings.load().concurrency == number
