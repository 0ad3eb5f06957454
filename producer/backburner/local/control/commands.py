"""`backburner up`, `up --detach` and `down`, without their command line: what each does, and its exit status."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from backburner.local.control import env_file, lock
from backburner.local.control.interrupt import Interrupts
from backburner.local.control.stack import Stack
from backburner.local.control.stack_settings import drain_seconds
from backburner.local.control.status_pipe import PIPE_VARIABLE, StatusPipe, listen
from backburner.local.options import Preparation, Say, UpOptions
from backburner.local.programs.child import describe
from backburner_schemas.errors import BackburnerError, SettingsError

INTERRUPTED_STATUS = 130
"""Exit status of what Ctrl-C interrupted, as in shells."""

_STOP_MARGIN_SECONDS = 60.0
"""On top of the workers' drain: what they need after it (25 s), queue (10 s) and store (10 s), on a busy machine."""
_KILL_SECONDS = 10.0
_CANCEL_SECONDS = 60.0
_TAIL_LINES = 6
_TMPDIR = "TMPDIR"
_LOG = "up.log"


def run_up(options: UpOptions, *, say: Say, preparation: Preparation) -> int:
    """Bring the stack up in the foreground and keep it up until SIGINT, SIGTERM or SIGHUP; then stop all of it.

    Returns 0 when it was stopped after it was up, 130 before. Raises the `BackburnerError` of the part that did not
    come up or could not be kept up; everything is stopped then too.
    """
    status_pipe = StatusPipe.from_environment()

    def tell(line: str) -> None:
        say(line)
        status_pipe.say(line)

    try:
        with (
            Interrupts() as interrupts,
            lock.hold(options.state_folder, stop_seconds=stop_seconds(options)) as temporary,
            _temporary_files_in(temporary),
        ):
            return _run(options, tell, status_pipe, preparation, interrupts)
    except BackburnerError as error:
        status_pipe.failed(error.message)
        raise


def run_up_detached(options: UpOptions, *, say: Say) -> int:
    """Start the supervisor as a process of its own session; returns 0 when all is up, and leaves it running.

    Returns 1, after printing why, when it did not come up, and 130 when interrupted; nothing is left running then.
    """
    state = options.state_folder
    if (pid := lock.supervisor(state)) is not None:
        raise SettingsError(f"a stack runs in {state.parent} already (pid {pid}); stop it with `backburner down`")
    state.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as pipe:
        try:
            with (state / _LOG).open("wb") as output:
                child = subprocess.Popen(  # noqa: S603 - our own command line
                    [*options.cli_argv, *_arguments(options)],
                    cwd=options.folder,
                    env={**os.environ, PIPE_VARIABLE: str(writer)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writer,),
                    start_new_session=True,
                )
        finally:
            os.close(writer)
        try:
            return _await_last_word(pipe, child, say, state)
        except KeyboardInterrupt:
            child.terminate()
            child.wait(_CANCEL_SECONDS)
            return INTERRUPTED_STATUS


def run_down(folder: Path, *, say: Say) -> int:
    """Stop the stack of this working folder, if there is one. Returns 0, or 1 if it could not be stopped."""
    state = folder.absolute() / ".backburner"
    pid = lock.supervisor(state)
    if pid is None:
        if lock.is_held(state):
            say(f"a stack is just starting in {folder}; try again in a moment")
            return 1
        say(f"nothing is running in {folder}")
        return 0
    patience = lock.stop_seconds(state)
    say(f"stopping the stack (pid {pid})")
    if lock.send(state, pid, signal.SIGTERM, seconds=patience):
        say("stopped")
        return 0
    say(f"it did not stop within {patience:.0f} s; killing it")
    if lock.send(state, pid, signal.SIGKILL, seconds=_KILL_SECONDS):
        # A killed supervisor could not tidy up; its children died with it.
        lock.supervisor(state)
        say("killed")
        return 0
    say(f"process {pid} cannot be killed; inspect it with ps")
    return 1


def stack_variables(folder: Path) -> dict[str, str]:
    """The settings of the stack of this working folder. Raises `SettingsError` if none is up there."""
    return env_file.read(env_file.path_in(folder.absolute() / ".backburner"))


def stop_seconds(options: UpOptions) -> float:
    """How long stopping the stack takes at most, in seconds."""
    return drain_seconds(options) + _STOP_MARGIN_SECONDS


def _run(
    options: UpOptions, say: Say, status_pipe: StatusPipe, preparation: Preparation, interrupts: Interrupts
) -> int:
    up = False
    try:
        with Stack(options, say=say, interrupts=interrupts) as stack:
            stack.start(preparation)
            path = env_file.path_in(options.state_folder)
            env_file.write(path, stack.env())
            say(f"up; settings are in {path}: run `. {_shown(path)}`")
            up = True
            if not status_pipe.connected:
                _tell_front(stack.env(), say)
            status_pipe.ready()
            stack.supervise()
    except KeyboardInterrupt:
        say("stopped")
        if not up:
            status_pipe.failed("it was asked to stop before it was up")
    return 0 if up else INTERRUPTED_STATUS


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Within the block every child process has its temporary files there: some leave logs and sockets behind.

    This process's own stay where they were, with what all stacks of a machine share: Python looks at TMPDIR only once.
    """
    before = os.environ.get(_TMPDIR)
    os.environ[_TMPDIR] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TMPDIR]
        else:
            os.environ[_TMPDIR] = before


def _await_last_word(pipe: IO[str], child: "subprocess.Popen[bytes]", say: Say, state: Path) -> int:
    try:
        why = listen(pipe, say)
    except EOFError:
        status = child.wait(_CANCEL_SECONDS)
        why = f"the supervisor ended with {describe(status)} before anything was up:\n{_tail(state / _LOG)}"
    if why is None:
        # Not by the supervisor: what that says goes into a log, and the key is a secret.
        _tell_front(env_file.read(env_file.path_in(state)), say)
        say(f"it runs in the background (pid {child.pid}); stop it with `backburner down`")
        return 0
    child.wait(_CANCEL_SECONDS)
    say(f"error: {why}")
    return 1


def _tell_front(env: Mapping[str, str], say: Say) -> None:
    if base_url := env.get("OPENAI_BASE_URL"):
        say(f"OpenAI's clients take base URL {base_url} and API key {env['OPENAI_API_KEY']}; the settings have both")


def _arguments(options: UpOptions) -> list[str]:
    arguments = ["up", "--engine", str(options.engine), "--queue", str(options.queue)]
    arguments += ["--model", options.model]
    arguments += ["--workers", str(options.workers)]
    if options.data is not None:
        arguments += ["--data", str(options.data_folder)]
    if options.engine_args is not None:
        arguments += [f"--engine-args={options.engine_args}"]
    if options.gateway:
        arguments += ["--gateway"]
    if options.gateway_port is not None:
        arguments += ["--gateway-port", str(options.gateway_port)]
    return arguments


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"  {line}" for line in [*lines, f"see {log}"])


def _shown(path: Path) -> str:
    """The path as a user would type it: relative where it is below the working folder."""
    with contextlib.suppress(ValueError):
        return shlex.quote(str(path.relative_to(Path.cwd())))
    return shlex.quote(str(path))
