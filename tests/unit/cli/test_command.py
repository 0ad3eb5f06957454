"""How every command ends: one line for an error, a code for scripts, nothing that a user cannot use."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from backburner.cli import command
from backburner.cli.app import app
from backburner.cli.exit_codes import ExitCode, code_of_error
from backburner.cli.session import Session
from backburner_schemas import errors

EXPECTED = {
    errors.RequestFailed: 1,
    errors.EngineLost: 1,
    errors.StoredObjectBroken: 1,
    errors.SettingsError: 2,
    errors.InvalidInput: 2,
    errors.JobConflict: 2,
    errors.InvalidJson: 2,
    errors.StoreDenied: 2,
    errors.JobNotFound: 4,
    errors.PoolNotFound: 4,
    errors.StoreError: 5,
    errors.QueueError: 5,
    errors.ResultTimeout: 6,
}


def run(raised, *args):
    """A command line of one command that ends with that exception."""
    made = typer.Typer(cls=command.Commands)

    @made.callback()
    def top(context: typer.Context, *, verbose: command.Verbose = False):
        context.ensure_object(Session).verbose |= verbose

    async def fail(session: Session):
        if isinstance(raised, BaseException):
            try:
                int("the root of it")
            except ValueError as cause:
                raise raised from cause
        return raised

    command.add(made, fail)
    return CliRunner().invoke(made, args or ["fail"])


@pytest.mark.parametrize(("kind", "code"), EXPECTED.items())
def test_an_error_has_its_exit_code(kind, code):
    assert run(kind()).exit_code == code == code_of_error(kind())


def test_an_error_is_one_line_with_its_remedy_and_no_traceback():
    result = run(errors.StoreError())
    assert result.stderr == f"error: {errors.StoreError.default_message()}\n"
    assert result.stdout == ""


def test_a_long_error_is_not_broken_into_lines_where_nobody_sees_it():
    assert run(errors.StoreError("word " * 100)).stderr.count("\n") == 1


@pytest.mark.parametrize("args", [["-v", "fail"], ["fail", "-v"], ["fail", "--verbose"]])
def test_verbose_before_or_after_the_command_shows_the_cause(args):
    result = run(errors.StoreError(), *args)
    assert "Traceback" in result.stderr
    assert "the root of it" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.exit_code == ExitCode.AWAY


def test_an_error_inside_a_task_group_is_told_as_itself():
    result = run(ExceptionGroup("unhandled errors", [errors.QueueError()]))
    assert result.stderr.startswith("error: The broker did not")
    assert result.exit_code == ExitCode.AWAY


def test_what_nobody_foresaw_says_how_to_see_more():
    result = run(RuntimeError("odd"))
    assert result.stderr == "error: unexpected RuntimeError: odd; run again with -v for the cause\n"
    assert result.exit_code == ExitCode.ENDED_BADLY


def test_a_path_that_cannot_be_opened_is_named():
    result = run(FileNotFoundError(2, "No such file or directory", "prompts.jsonl"))
    assert result.stderr == "error: prompts.jsonl: No such file or directory; check the path and its permissions\n"
    assert result.exit_code == ExitCode.USAGE


def test_control_characters_in_a_message_are_shown_and_not_obeyed():
    assert "\x1b" not in run(errors.JobError("a \x1b[31m job")).stderr


def test_ctrl_c_says_what_goes_on():
    result = run(KeyboardInterrupt())
    assert result.stderr == "interrupted\n"
    assert result.exit_code == ExitCode.INTERRUPTED


def test_a_command_chooses_its_exit_code():
    assert run(ExitCode.UNDECIDED).exit_code == 3
    assert run(None).exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["stat"],
        ["status", "../../etc"],
        ["status", "a/b"],
        ["cancel", "x", "--tenant", "a b"],
        ["submit", "f.jsonl", "--job-id", "a..b"],
        ["submit", "f.jsonl", "--priority", "retry"],
        ["submit", "f.jsonl", "--deadline", "tomorrow"],
        ["submit", "f.jsonl", "--metadata", "novalue"],
        ["submit", "f.jsonl", "-o", "out.jsonl"],
        ["enqueue", "hi", "--timeout", "5s"],
        ["enqueue", " "],
        ["jobs", "--limit", "0"],
        ["up", "--engine", "steam"],
        ["up", "--workers", "-1"],
        ["topics", "ensure"],
        ["topics", "ensure", "--pool", ""],
        ["topics"],
    ],
)
def test_a_wrong_command_line_is_one_line_and_ends_with_2(args):
    result = CliRunner().invoke(app, args)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")


def test_no_command_prints_the_help():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    for name in ("up", "down", "submit", "enqueue", "status", "watch", "results", "cancel", "jobs", "reconcile"):
        assert name in result.stdout


def test_the_help_imports_nothing_heavy():
    heavy = "{'obstore', 'aiokafka', 'boto3', 'fastapi', 'vllm', 'torch', 'structlog', 'tenacity'}"
    program = f"""
import contextlib, io, sys
from backburner.cli.app import app
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    app(["--help"])
print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_that_has_gone_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "backburner", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0
