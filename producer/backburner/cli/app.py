"""The command line, put together. Each group of commands has its own file; nothing is decided here."""

from typing import Annotated

import typer

from backburner.cli import command
from backburner.cli.commands import (
    bootstrap,
    canary,
    dlq,
    doctor,
    enqueue,
    jobs,
    keys,
    plan,
    pools,
    results,
    retry,
    stack,
    submit,
    topics,
)
from backburner.cli.session import Session
from backburner.cli.terminal import show

app = typer.Typer(
    name="backburner",
    cls=command.Commands,
    add_completion=False,
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
def backburner(context: typer.Context, *, verbose: command.Verbose = False, version: Version = False) -> None:  # noqa: ARG001
    """LLM inference that nobody is waiting for: prompts onto a queue, answers into object storage."""
    session = context.ensure_object(Session)
    session.verbose |= verbose
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def version(_session: Session) -> None:
    """Print the version."""
    show.out(_version())


# In the order in which a newcomer needs them.
stack.register(app)
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
command.add(app, version)
