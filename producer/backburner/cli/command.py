"""How every command runs: -v, logs, errors as one line, exit codes. What a command does is not here."""

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, Protocol, cast, runtime_checkable

import typer
from typer.core import TyperGroup

from backburner.cli import completion
from backburner.cli.exit_codes import ExitCode, code_of_error
from backburner.cli.session import Session
from backburner.cli.stopping import Stopping
from backburner.cli.terminal import show
from backburner_schemas.errors import BackburnerError, QueueError, ResultTimeout, StoreError

Command = Callable[..., int | Coroutine[Any, Any, int | None] | None]
"""Takes the `Session` first; returns an exit code, or None for OK."""

_PANEL = "Everywhere"
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the cause of an error, and the log.", rich_help_panel=_PANEL)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print data, warnings and errors alone: no progress.", rich_help_panel=_PANEL),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="The settings of this profile, instead of BACKBURNER_… variables.",
        autocompletion=completion.profiles,
        rich_help_panel=_PANEL,
    ),
]
QueueUrl = Annotated[
    str | None,
    typer.Option(
        "--queue-url", metavar="URL", help="The queue, instead of that of the settings.", rich_help_panel=_PANEL
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store-url", metavar="URL", help="The object store, instead of that of the settings.", rich_help_panel=_PANEL
    ),
]
_EVERYWHERE: dict[str, tuple[Any, Any]] = {
    "verbose": (Verbose, False),
    "quiet": (Quiet, False),
    "profile": (Profile, None),
    "queue_url": (QueueUrl, None),
    "store_url": (StoreUrl, None),
}
"""Options that may stand before or behind any command, as attributes of the session, and their defaults."""


class Commands(TyperGroup):
    """A group whose usage errors are one line, as all other errors are."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run it; in standalone mode the process ends here."""
        try:
            result = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except _UsageError as error:
            if not standalone_mode:
                raise
            context = getattr(error, "ctx", None)
            show.usage_error(_message_of(error), context.command_path if context else "backburner")
            sys.exit(ExitCode.USAGE)
        except (typer.Abort, KeyboardInterrupt):
            sys.exit(ExitCode.INTERRUPTED)
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else ExitCode.OK)
        return result


# What typer raises for a wrong command line. typer has no public name for it, and whether click's or its own class is
# the base depends on its version.
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)


def _message_of(error: Exception) -> str:
    text: str = error.format_message() if isinstance(error, _HasMessage) else str(error)
    return text


@runtime_checkable
class _HasMessage(Protocol):
    def format_message(self) -> str: ...


def add(app: typer.Typer, function: Command, name: str | None = None) -> None:
    """Make the function a command of that group; its `Session` comes first, its other parameters are typer's."""
    app.command(name)(_as_typer_has_it(function))


def add_default(group: typer.Typer, function: Command) -> None:
    """Make the function what the group does where none of its commands is named."""
    group.callback(invoke_without_command=True)(_as_typer_has_it(function))


def _as_typer_has_it(function: Command) -> Callable[..., None]:
    given = inspect.signature(function)
    first, *own = given.parameters.values()
    context = first.replace(annotation=typer.Context)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _EVERYWHERE.items()
    ]

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        called = arguments.pop(first.name)
        session = called.find_object(Session)
        take(session, {name: arguments.pop(name) for name in _EVERYWHERE})
        if called.invoked_subcommand is not None:
            if arguments != {parameter.name: parameter.default for parameter in own}:
                raise typer.BadParameter(f"options go behind the command: {called.command_path} COMMAND --option")
            return
        raise typer.Exit(_guarded(function, session, arguments))

    # typer reads both of these, in every version.
    vars(run)["__signature__"] = given.replace(parameters=[context, *own, *shared])
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *own, *shared)}
    del vars(run)["__wrapped__"]
    return run


def take(session: Session, options: Mapping[str, Any]) -> None:
    """Note what was given of the options that may stand anywhere; what stands behind the command counts."""
    for name, value in options.items():
        setattr(session, name, value or getattr(session, name))


def _guarded(function: Command, session: Session, arguments: dict[str, Any]) -> ExitCode | int:
    """Run the command and turn whatever it raises into a line and a code."""
    from backburner import logs

    logs.configure("debug" if session.verbose else "warning", json=False)
    if not session.verbose:
        logs.silence("aiokafka")
    with Stopping() as stopping, show.quietly(session.quiet), session.resources:
        try:
            result = function(session, **arguments)
            ended = stopping.run(result) if isinstance(result, Coroutine) else result
        except KeyboardInterrupt:
            show.interrupted(_joined("interrupted", session.go_on))
            return stopping.exit_code
        except Exception as error:  # noqa: BLE001 - the outermost place: nothing may reach the user as a traceback
            return _failed(_innermost(error), session)
    return ExitCode.OK if ended is None else ended


_HALF_WAY = (StoreError, QueueError, ResultTimeout, show.OutputFailed)
"""Errors that may end what was begun. The others are found before it is."""


def _failed(error: Exception, session: Session) -> ExitCode:
    if isinstance(error, typer.BadParameter):
        raise error
    if isinstance(error, show.OutputClosed):
        return ExitCode.OK
    if session.verbose:
        show.traceback(error)
    if isinstance(error, BackburnerError):
        show.error(_joined(error.message, session.go_on if isinstance(error, _HALF_WAY) else ""))
        return code_of_error(error)
    if isinstance(error, OSError) and error.filename is not None:
        show.error(f"{error.filename}: {error.strerror or error}; check the path and its permissions")
        return ExitCode.USAGE
    hint = "this is a bug in Backburner: please report it" if session.verbose else "run again with -v for the cause"
    show.error(_joined(f"unexpected {type(error).__name__}: {error}", hint, session.go_on))
    return ExitCode.ENDED_BADLY


def _joined(*clauses: str) -> str:
    """The clauses that there are, as one sentence."""
    return "; ".join(clause for clause in clauses if clause)


def _innermost(error: Exception) -> Exception:
    """The error itself, where task groups wrapped it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
