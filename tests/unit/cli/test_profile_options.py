"""Where the command line takes its settings from, and what a shell completes."""

import asyncio
import json

import pytest
from terminal import Terminal
from typer.testing import CliRunner

from backburner.cli import command, completion
from backburner.cli.app import app
from backburner.cli.session import Session
from backburner.testing import FakeSystem


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "backburner").mkdir()
    file = tmp_path / "backburner" / "config.toml"
    file.write_text(
        '[profiles.one]\nstore_url = "s3://u:hunter2@one/x"\nkafka_security_password = "hunter2"\n\n'
        f'[profiles.two]\nqueue_url = "kafka://two:1"\nstore_url = "file://{tmp_path}/two"\n'
    )
    file.chmod(0o600)
    return tmp_path


def test_profiles_are_listed_without_any_secret(profiles):
    shown = CliRunner().invoke(app, ["profiles", "--profile", "two"])
    assert shown.stdout.splitlines()[2].split() == ["*", "two", "kafka://two:1", f"file://{profiles}/two"]
    assert "hunter2" not in shown.output
    lines = CliRunner().invoke(app, ["profiles", "--json"]).stdout.splitlines()
    assert [json.loads(line)["profile"] for line in lines] == ["one", "two"]


@pytest.mark.parametrize("args", [["--profile", "two", "jobs"], ["jobs", "--profile", "two"]])
def test_the_options_stand_before_or_behind_the_command(profiles, monkeypatch, args):
    monkeypatch.setenv("BACKBURNER_STORE_URL", "nonsense")
    result = CliRunner().invoke(app, args)
    assert (result.exit_code, result.stderr) == (0, "there are no jobs yet; `backburner submit FILE` creates one\n")
    assert (profiles / "two").is_dir()


def test_urls_come_before_the_profile():
    session = Session(store_url="s3://a/b", queue_url="kafka://c:1")
    assert (session.settings().store_url, session.settings().queue_url) == ("s3://a/b", "kafka://c:1")


def test_an_unknown_profile_is_a_wrong_command_line(profiles):
    result = CliRunner().invoke(app, ["--profile", "three", "jobs"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no profile 'three'; those are one, two")


# --- completion -----------------------------------------------------------------------------------------------


def completed(monkeypatch, words, session=None):
    """What bash would offer for the last of these words."""
    monkeypatch.setenv("_BACKBURNER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    return CliRunner().invoke(app, [], obj=session, prog_name="backburner").stdout.split()


def test_commands_options_and_statuses_are_completed(monkeypatch):
    assert completed(monkeypatch, ["backburner", "re"]) == ["resume", "reconcile", "results", "retry"]
    assert "--timeout" in completed(monkeypatch, ["backburner", "watch", "--t"])
    assert completed(monkeypatch, ["backburner", "jobs", "--status", "in"]) == ["in_progress"]


def test_profiles_are_completed(monkeypatch, profiles):
    assert completed(monkeypatch, ["backburner", "jobs", "--profile", "t"]) == ["two"]


def test_jobs_pools_and_models_of_the_store_are_completed(tmp_path, monkeypatch, terminal):
    job = terminal.submitted("r1")
    session = terminal.session()
    assert completed(monkeypatch, ["backburner", "status", "batch_"], session) == [job]
    assert completed(monkeypatch, ["backburner", "pools", "remove", ""], session) == ["fake"]
    assert completed(monkeypatch, ["backburner", "enqueue", "--model", "f"], session) == ["fake"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("alias", ["fast[/v2]", "fast\\$(reboot)"])
def test_a_name_that_is_no_plain_word_for_a_shell_is_not_offered(monkeypatch, terminal, shell, alias):
    asyncio.run(terminal.system.client.add_aliases("fake", ["fast", alias]))
    asyncio.run(terminal.system.client.register_pool("[/b]"))
    monkeypatch.setenv("_BACKBURNER_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "backburner enqueue --model fa")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("COMP_WORDS", "backburner enqueue --model fa")
    monkeypatch.setenv("COMP_CWORD", "3")
    found = CliRunner().invoke(app, [], obj=terminal.session(), prog_name="backburner")
    assert found.exception is None
    assert all(name in found.stdout for name in ("fake", "fast"))
    assert alias not in found.stdout
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "backburner pools remove ")
    assert CliRunner().invoke(app, [], obj=terminal.session(), prog_name="backburner").exception is None


def test_a_store_that_cannot_be_reached_completes_nothing_and_says_nothing(monkeypatch):
    monkeypatch.setenv("BACKBURNER_STORE_URL", "nonsense")
    assert completed(monkeypatch, ["backburner", "status", ""]) == []


def test_a_store_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(completion, "_WAIT_SECONDS", 0.01)

    async def never(*_, **__):
        import asyncio

        await asyncio.Event().wait()

    system = FakeSystem()
    monkeypatch.setattr(system.storage, "folders", never)
    assert completed(monkeypatch, ["backburner", "status", ""], Terminal(system, tmp_path).session()) == []


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --command")]
)
def test_each_shell_has_its_script(shell, sign):
    script = CliRunner().invoke(app, ["completion", shell], prog_name="backburner").stdout
    assert sign in script
    assert "_BACKBURNER_COMPLETE" in script


def test_every_command_takes_the_shared_options():
    for name in ("status", "submit", "up"):
        text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
        for option in command._EVERYWHERE:
            assert f"--{option.replace('_', '-')}" in text
