"""docs/cli.md tells of everything that there is."""

from pathlib import Path

import pytest
import typer

from backburner.cli.app import app
from backburner.cli.exit_codes import ExitCode

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def commands(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize(("name", "command"), [*commands(typer.main.get_command(app))], ids=str)
def test_every_command_and_its_options_are_told(name, command):
    assert f"`{name}`" in PAGE or f"## {name}" in PAGE
    for option in {option for parameter in command.params for option in parameter.opts if option.startswith("--")}:
        assert option in PAGE, option


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_told(code):
    assert f"| {code.value} |" in PAGE
