"""The command line, put together. Each group of commands has its own file; nothing is decided here."""

from enum import StrEnum
from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.commands import (
    bootstrap,
    canary,
    dlq,
    doctor,
    enqueue,
    env,
    jobs,
    keys,
    plan,
    pools,
    profiles,
    results,
    retry,
    stack,
    submit,
    topics,
)
from backburner.cli.session import Session
from backburner.cli.terminal import show

_NAME = "backburner"


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    """Bash 4.4 and newer."""
    ZSH = "zsh"
    """Z shell."""
    FISH = "fish"
    """Fish."""


app = typer.Typer(
    name=_NAME,
    cls=command.Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        show.out(_version())
        raise typer.Exit


def _version() -> str:
    from importlib import metadata

    return metadata.version("backburner")


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback(invoke_without_command=True)
def backburner(
    context: typer.Context,
    *,
    verbose: command.Verbose = False,
    quiet: command.Quiet = False,
    profile: command.Profile = None,
    queue_url: command.QueueUrl = None,
    store_url: command.StoreUrl = None,
    version: Version = False,  # noqa: ARG001 - printed as it is read
) -> None:
    """LLM inference that nobody is waiting for: prompts onto a queue, answers into object storage."""
    session = context.ensure_object(Session)
    options = {"profile": profile, "queue_url": queue_url, "store_url": store_url}
    command.take(session, {"verbose": verbose, "quiet": quiet, **options})
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def completion(
    _session: Session,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help=f"One of {', '.join(Shell)}.")],
) -> None:
    """Print what teaches a shell to complete commands, options and names; its page says where it goes."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # its public place in all versions

    show.out(get_completion_script(prog_name=_NAME, complete_var=f"_{_NAME.upper()}_COMPLETE", shell=shell))


def version(_session: Session) -> None:
    """Print the version."""
    show.out(_version())


# In the order in which a newcomer needs them.
stack.register(app)
env.register(app)
submit.register(app)
plan.register(app)
enqueue.register(app)
jobs.register(app)
results.register(app)
retry.register(app)
dlq.register(app)
topics.register(app)
bootstrap.register(app)
pools.register(app)
doctor.register(app)
canary.register(app)
keys.register(app)
profiles.register(app)
command.add(app, completion)
command.add(app, version)
