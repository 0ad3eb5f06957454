"""`env`: the settings of the stack that `up` started, for the shell that asks, and back to what it had before."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner_schemas.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, env)


def env(
    _session: Session,
    *,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put back what the shell had before, also once the stack is gone.")
    ] = False,
) -> None:
    """Print the settings of this folder's stack as commands for a shell: eval "$(backburner env)".

    They are those of .backburner/env, and credentials are among them. eval "$(backburner env --undo)" puts back what
    they took the place of.
    """
    from backburner.local import stack_variables
    from backburner.local.control import shell_env

    if not undo:
        text = shell_env.entering(stack_variables(Path.cwd()), os.environ)
    elif (text := shell_env.leaving(os.environ) or "") == "":
        try:
            text = shell_env.leaving_file(stack_variables(Path.cwd()), os.environ)
        except SettingsError as error:
            raise SettingsError(
                'nothing of `eval "$(backburner env)"` is set in this shell; what a sourced .backburner/env set goes '
                "with the shell, once the stack is gone"
            ) from error
    if sys.stdout is not None and sys.stdout.isatty():
        show.say(f'a shell takes this by: eval "$(backburner env{" --undo" if undo else ""})"')
    for line in text.split("\n") if text else ():
        show.out(line)
