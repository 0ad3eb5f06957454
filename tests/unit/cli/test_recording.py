"""docs/cli-session.cast shows what there is: commands and options, typed by the session that the script has today."""

import itertools
import json
import re
from pathlib import Path

import pytest
import record_cli
import typer

from backburner.cli.app import app

LINES = (Path(__file__).parents[3] / "docs" / "cli-session.cast").read_text(encoding="utf-8").splitlines()
HEADER, EVENTS = json.loads(LINES[0]), [json.loads(line) for line in LINES[1:]]
TYPED = [text for _, kind, text in EVENTS if kind == "m"]
SHOWN = "".join(text for _, kind, text in EVENTS if kind == "o")
CALLS = [words.split() for line in TYPED for words in re.findall(r"\bbackburner((?: +[^\s|<>()\"']+)+)", line)]


def command_of(words):
    """The command that the words call, and those of them that are behind its name."""
    command, left = typer.main.get_command(app), list(words)
    while left and hasattr(command, "commands"):
        assert left[0] in command.commands, words
        command = command.commands[left.pop(0)]
    return command, left


@pytest.mark.parametrize("words", [words for words in CALLS if words[0] != "#"], ids=" ".join)
def test_every_command_and_option_of_the_recording_exists(words):
    command, left = command_of(words)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in left if word.startswith("-")} <= known


def test_the_recording_is_of_the_session_that_the_script_has():
    """Else: make session."""
    assert len(TYPED) == len(record_cli.SESSION)
    for line, step in zip(TYPED, record_cli.SESSION, strict=True):
        # What Tab typed may go on, by an id that is another one each time.
        typed = ".*".join(re.escape(keys if isinstance(keys, str) else keys.types.strip()) for keys in step.keys)
        assert re.match(typed, line), line


@pytest.mark.parametrize(
    "shown",
    [
        *("completion", "submit", "cancel", "watch", "results", "status", "reconcile"),
        *(".jsonl.gz", "--status", "--limit", "--after", "--profile", "env --undo"),
    ],
)
def test_the_recording_shows_what_its_page_says(shown):
    assert any(shown in line for line in TYPED)


def test_streams_are_seen_beside_jobs():
    assert re.search(r"JOB .+STREAM ", SHOWN, re.DOTALL)


def test_nothing_of_the_machine_is_in_the_recording():
    assert set(re.findall(r"\w+://([^/:\s]+)", SHOWN)) == {"127.0.0.1", "backburner"}
    paths = re.findall(r"(?<![\w.~:/}])/\w[\w.-]*/[\w./-]+", SHOWN)
    assert paths
    assert all(path.startswith("/home/me/") for path in paths)


def test_the_recording_can_be_played():
    assert HEADER["version"] == 2
    times = [at for at, _, _ in EVENTS]
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    assert {kind for _, kind, _ in EVENTS} == {"o", "m"}
