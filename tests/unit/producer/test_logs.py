"""How programs write their logs."""

import json
import logging

import pytest
import structlog
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from backburner import logs
from backburner_schemas.errors import SettingsError


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [handler for handler in handlers if not isinstance(handler, logs._Stderr)]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_record_is_one_line_of_json_on_stderr(capsys):
    logs.configure("info", json=True)
    structlog.get_logger().info("stored", job="batch_1", index=3, error=ValueError("x"))
    out, err = capsys.readouterr()
    assert out == ""
    record = json.loads(err)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "stored", "level": "info", "job": "batch_1", "index": 3, "error": "x"}


def test_a_record_of_the_standard_library_has_the_same_form(capsys):
    logs.configure("info", json=True)
    logging.getLogger("some.library").warning("gone %s", "away")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["level"]) == ("gone away", "warning")


def test_an_exception_is_told_inside_its_line(capsys):
    logs.configure("info", json=True)
    try:
        int("the cause")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the cause" in json.loads(line)["exception"]


def test_records_below_the_level_are_left_out(capsys):
    logs.configure("warning", json=False)
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    structlog.get_logger().warning("loud")
    err = capsys.readouterr().err
    assert "loud" in err
    assert "quiet" not in err


def test_lines_for_people_have_no_colours_where_nobody_sees_them(capsys):
    logs.configure("info", json=False)
    structlog.get_logger().info("stored", job="batch_1")
    assert "\x1b" not in capsys.readouterr().err


def test_json_is_chosen_where_stderr_is_no_terminal(capsys):
    logs.configure("info")
    structlog.get_logger().info("stored")
    assert json.loads(capsys.readouterr().err)["event"] == "stored"


def test_configuring_twice_does_not_write_twice(capsys):
    logs.configure("info", json=True)
    logs.configure("info", json=True)
    structlog.get_logger().info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_unknown_level_is_an_error_that_lists_the_known_ones():
    with pytest.raises(SettingsError, match="debug, info, warning, error"):
        logs.configure("loud")


def test_a_library_logger_comes_out_in_the_same_form(capsys):
    logs.configure("info", json=True)
    logs.get_logger("backburner.part").warning("odd", topic="t")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["level"], record["topic"]) == ("odd", "warning", "t")


def test_a_library_logger_never_writes_to_the_stdout_of_a_program_that_configured_nothing(capsys, caplog):
    logs.get_logger("backburner.part").warning("odd", topic="t")
    logs.get_logger("backburner.part").debug("quiet")
    assert capsys.readouterr().out == ""
    assert [record.getMessage() for record in caplog.records] == ["odd topic='t'"]


def test_a_library_logger_tells_exceptions_to_a_program_that_configured_nothing(caplog):
    try:
        int("the cause")
    except ValueError:
        logs.get_logger("backburner.part").exception("failed")
    assert "the cause" in caplog.text


@pytest.mark.parametrize(("level", "told"), [("info", ["info"]), ("warning", [])])
def test_a_group_that_waits_for_a_fresh_cluster_is_no_error(capsys, level, told):
    logs.configure(level, json=True)
    coordinator = logging.getLogger("aiokafka.consumer.group_coordinator")
    said = "Group Coordinator Request failed: %s"
    coordinator.error(said, GroupCoordinatorNotAvailableError())
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == told
    logs.configure(level, json=True)
    coordinator.error(said, GroupAuthorizationFailedError())
    assert json.loads(capsys.readouterr().err)["level"] == "error"


def test_a_library_that_repeats_itself_is_heard_once_in_a_while(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    logs.configure("info", json=False)
    for node in range(5):
        logging.getLogger("aiokafka.conn").error("no connection to node %s", node)
        logging.getLogger("aiokafka.conn").error("no metadata")
        logging.getLogger("backburner.thing").error("our own")
    heard = capsys.readouterr().err
    assert [heard.count(text) for text in ("no connection", "no metadata", "our own")] == [1, 1, 5]
    clock[0] += 60
    logging.getLogger("aiokafka.conn").error("no connection to node %s", 7)
    assert "node 7" in capsys.readouterr().err
