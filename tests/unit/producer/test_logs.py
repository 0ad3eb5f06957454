"""How programs write their logs."""

import json
import logging
import sys

import pytest
import structlog
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from backburner import logs
from backburner_schemas.errors import RequestRefused, SettingsError, StoreFull


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [handler for handler in handlers if not isinstance(handler, logs._Stderr)]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = sys.__excepthook__
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


def fail():
    try:
        int("a prompt")
    except ValueError:
        raise RuntimeError("a prompt") from KeyError("a prompt")


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_told_by_where_it_was_raised_and_never_by_what_it_says(capsys, as_json):
    logs.configure("info", json=as_json)
    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("failed")
    said = capsys.readouterr().err
    assert "in fail" in said
    assert "RuntimeError" in said
    assert "KeyError" in said
    # A line of code that is shown is ours; what it worked on is not.
    assert said.count("a prompt") == said.count('("a prompt') + said.count('(\\"a prompt')


def test_at_level_debug_an_exception_is_told_whole(capsys):
    logs.configure("debug", json=True)
    try:
        int("the cause")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the cause" in json.loads(line)["exception"]


def test_errors_of_ours_that_quote_nobody_and_those_of_the_system_are_told():
    group = ExceptionGroup("two", [StoreFull("no room on disk 7"), FileNotFoundError(2, "no such file", "/tmp/x")])
    assert "no room on disk 7" in logs.raised(group)
    assert "no such file" in logs.raised(group)
    assert "quoted" not in logs.raised(RequestRefused("quoted"))


def test_an_exception_that_causes_itself_or_has_no_end_of_causes_is_told_in_bounds():
    error = ValueError()
    for _ in range(100_000):
        error, error.__cause__ = ValueError(), error
    assert len(logs.raised(error)) < 1000
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert len(logs.raised(first)) < 1000


def test_what_ends_the_process_is_one_record(capsys):
    logs.configure("info", json=True)
    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "process failed unexpectedly; exiting"
    assert "RuntimeError" in json.loads(line)["exception"]


def test_no_field_is_longer_than_a_bound_whatever_it_holds(capsys):
    logs.configure("info", json=True)
    fields = {"text": "x" * 10**6, "nested": {"a": ["x" * 10**6]}, "error": ValueError("x" * 10**6)}
    structlog.get_logger().info("y" * 10**6, **fields)
    logging.getLogger("some.library").warning("%s", "z" * 10**6)
    for line in capsys.readouterr().err.splitlines():
        assert len(line) < 5 * 16_384


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("GET https://user:hunter2@store.example/x failed", "hunter2"),
        ("GET https://user:hunt@er2@store.example/x failed", "er2"),
        ("https://b.example/k?X-Amz-Credential=AKIA1&X-Amz-Signature=abcdef0&x=1", "abcdef0"),
        ("https://a.example/c?sv=1&sig=c2VjcmV0 refused", "c2VjcmV0"),
    ],
)
def test_what_lets_the_reader_of_a_url_in_is_masked(said, secret):
    assert secret not in logs.masked(said)
    assert ".example/" in logs.masked(said)


@pytest.mark.parametrize("name", ["sig", "X-Amz-Signature", "X-Amz-Security-Token", "Signature", "access_token"])
def test_what_signs_a_url_is_masked_where_its_path_alone_is_told(name):
    assert logs.masked(f"GET /c/blob?sv=1&{name}=c2VjcmV0%3D failed") == f"GET /c/blob?sv=1&{name}=… failed"


KEY = "bb-" + "A" * 43


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        (f"key {KEY}.", "key bb-AAAAAA…."),
        ("token eyJhbGciOiJI.eyJzdWIi.c2ln, told", "token eyJ…, told"),
        ("eyJhbGciOiJI is no token", "eyJhbGciOiJI is no token"),
        (f"eyJhbGciOiJI{KEY} is no token", "eyJhbGciOiJIbb-AAAAAA… is no token"),
        (f"eyJhbGciOiJI{KEY}.eyJzdWIi.c2ln", "eyJ…"),
    ],
)
def test_keys_and_tokens_are_cut_to_how_they_begin(said, masked):
    assert logs.masked(said) == masked


@pytest.mark.timeout(60)
def test_what_begins_as_tokens_do_over_and_over_costs_no_more_than_its_length():
    # For hours, were each beginning searched from to the end.
    text = "eyJ" * 3_000_000
    assert logs.masked(text) == text


def test_what_a_library_logs_by_itself_says_no_more_of_an_exception(capsys):
    library = logging.getLogger("some.engine")
    handler = logging.StreamHandler(sys.stderr)
    library.addHandler(handler)
    library.propagate = False
    try:
        logs.guard("some.engine")
        try:
            int("a prompt")
        except ValueError:
            library.exception("refused")
    finally:
        library.removeHandler(handler)
    said = capsys.readouterr().err
    assert "refused" in said
    assert "ValueError" in said
    assert "base 10" not in said


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
