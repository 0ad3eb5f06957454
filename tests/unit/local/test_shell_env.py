"""The stack's settings come into a shell, and go again, as if they had never been there."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from backburner.cli.app import app
from backburner.local.control import env_file, shell_env

VALUES = {"BACKBURNER_STORE_URL": "s3://it's/\n$HOME", "AWS_ACCESS_KEY_ID": "stack"}


def after(shell, *texts, environment):
    """What a shell that is started with this environment has, once it evaluated these texts."""
    show = "env -0"
    done = subprocess.run(
        [shell, "-c", "\n".join([*texts, show])], env=environment, capture_output=True, check=True, text=True
    )
    pairs = (line.partition("=") for line in done.stdout.split("\0") if line)
    return {name: value for name, _, value in pairs if name not in {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_was_there_before_comes_back(shell):
    before = {"AWS_ACCESS_KEY_ID": "the user's 'own' key", "PATH": "/usr/bin:/bin"}
    inside = after(shell, shell_env.entering(VALUES, before), environment=before)
    assert {name: inside[name] for name in VALUES} == VALUES
    # Another `up`, with other settings: what was there before stays what it was before the first.
    other = {"BACKBURNER_STORE_URL": "s3://other/x", "OPENAI_API_KEY": "bb-1"}
    again = after(shell, shell_env.entering(other, inside), environment=inside)
    assert again["AWS_ACCESS_KEY_ID"] == before["AWS_ACCESS_KEY_ID"]
    assert again["OPENAI_API_KEY"] == "bb-1"
    assert after(shell, shell_env.leaving(inside), environment=inside) == before
    assert after(shell, shell_env.leaving(again), environment=again) == before


def test_of_a_sourced_file_what_it_set_is_unset_and_nothing_else():
    text = shell_env.leaving_file({"A": "1", "B": "2"}, {"A": "1", "B": "the user's own by now", "C": "3"})
    assert text == "unset A"


@pytest.mark.parametrize("found", [None, "", "[]", '{"A B":"x"}', "{", "[" * 100_000])
def test_what_nobody_wrote_there_undoes_nothing(found):
    environment = {} if found is None else {shell_env.BEFORE: found}
    assert shell_env.leaving(environment) is None


def test_the_command_prints_it_and_undoes_it_when_the_stack_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert "backburner up" in CliRunner().invoke(app, ["env"]).stderr
    (tmp_path / ".backburner").mkdir()
    file = env_file.path_in(tmp_path / ".backburner")
    env_file.write(file, VALUES)
    entered = CliRunner().invoke(app, ["env"]).stdout
    assert "export AWS_ACCESS_KEY_ID=stack" in entered
    file.unlink()
    assert CliRunner().invoke(app, ["env", "--undo"]).exit_code == 2
    monkeypatch.setenv(shell_env.BEFORE, json.dumps({"AWS_ACCESS_KEY_ID": "mine", "BACKBURNER_STORE_URL": None}))
    undone = CliRunner().invoke(app, ["env", "--undo"]).stdout.splitlines()
    assert undone == ["export AWS_ACCESS_KEY_ID=mine", "unset BACKBURNER_STORE_URL", f"unset {shell_env.BEFORE}"]
