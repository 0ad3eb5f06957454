"""Records docs/cli-session.cast: a shell in which the command line is used, beside a stack that `backburner up` starts.

All that is shown comes from a real bash on a pseudo-terminal; keys are pressed one by one, Tab among them. Only time is
made up: the pace of typing, and that nobody waits longer than a second. `make session` runs it, the tests read what it
wrote, and `asciinema play docs/cli-session.cast` shows it. The file's form is asciicast v2, with a marker for each
command as the shell's own history has it.
"""

import codecs
import fcntl
import gzip
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backburner.local import stack_variables

_ROOT = Path(__file__).parents[1]
_RECORDING = _ROOT / "docs" / "cli-session.cast"
_BACKBURNER = Path(sys.executable).with_name("backburner")
_HOME = "/home/me"
"""What is written for the folder of the session, which is a temporary one."""
_PROMPT = "$ "
_COLUMN_COUNT, _ROW_COUNT = 120, 32
_KEY_SECONDS, _READING_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 1.5, 1.0
_PATIENCE_SECONDS = 60.0
"""For any one step: a machine without a wheel's unpacked binary needs its time."""
_POLL_SECONDS = 0.2
_TAB_SECONDS = 20.0
"""Longer than a completion takes: where it offered nothing, Tab is pressed once more."""
_READ_BYTES = 65_536
_MODEL = "smollm2-135m-instruct"


class RecordingFailed(Exception):
    """The session did not go as it should; nothing was written."""


@dataclass(frozen=True)
class Tab:
    """The Tab key, and what the shell has to type for it."""

    types: str


@dataclass(frozen=True)
class Step:
    """A line that is typed, and the exit status that it has to have."""

    keys: Sequence[str | Tab]
    status: int = 0
    once_listed: str = ""
    """Typed once `backburner jobs` lists an id that begins so."""


SESSION = (
    Step(["# Queue, store and a worker on this machine; an engine that answers without a model."]),
    Step([f"backburner up --detach --engine fake --model {_MODEL}"]),
    Step(['eval "$(backburner env)"']),
    Step(["# Tab completes commands, options, and ids of the store."]),
    Step(["source <(backburner completion bash)"]),
    Step(["backburner sub", Tab("mit "), "slow.jsonl --prio", Tab("rity "), "low"]),
    Step(["backburner canc", Tab("el "), "b", Tab("atch_")]),
    Step(["backburner watch b", Tab("atch_")], status=1),
    Step(["# A gzipped file, its results, and whether all are there."]),
    Step(["backburner submit prompts.jsonl.gz --job-id monday --wa", Tab("it "), "-o answers.jsonl"]),
    Step(["backburner status m", Tab("onday ")]),
    Step(["backburner results monday --join prompts.jsonl.gz | head -1 | cut -c -110"]),
    Step(["backburner reconcile monday"]),
    Step(["# Messages of any Kafka producer are a stream."]),
    Step([f"python raw_kafka.py {_MODEL}"]),
    Step(["backburner jobs"], once_listed="stream-"),
    Step(["backburner status stream", Tab("-backburner.")]),
    Step(["# By status, and page by page."]),
    Step(["backburner jobs --status canc", Tab("ell"), "ed"]),
    Step(["backburner jobs --limit 1"]),
    Step(["backburner jobs --limit 1 --after m", Tab("onday ")]),
    Step(["# A deployment by its name."]),
    Step(["config=~/.config/backburner/config.toml"]),
    Step(["echo '[profiles.laptop]' > $config"]),
    Step(["""echo "queue_url = '$BACKBURNER_QUEUE_URL'" >> $config"""]),
    Step(["""echo "store_url = '$BACKBURNER_STORE_URL'" >> $config"""]),
    Step(["""echo "store_endpoint = '$BACKBURNER_STORE_ENDPOINT'" >> $config"""]),
    Step(["backburner profiles"]),
    Step(["backburner jobs --profile l", Tab("aptop "), "--limit 1 --quiet"]),
    Step(["# The shell as it was, and the machine."]),
    Step(['eval "$(backburner env --undo)"']),
    Step(["backburner down"]),
)


@dataclass
class Recording:
    """What a terminal got, by a clock of its own, which stands still where nothing is to be seen."""

    seconds: float = 0.0
    events: list[tuple[float, str, str]] = field(default_factory=list)

    def add(self, kind: str, text: str, *, after_seconds: float = 0.0) -> None:
        """Something that comes so long after what was before."""
        self.seconds += after_seconds
        self.events.append((round(self.seconds, 3), kind, text))

    def text(self) -> str:
        """The file, in the form of asciicast v2."""
        header = {
            "version": 2,
            "width": _COLUMN_COUNT,
            "height": _ROW_COUNT,
            "title": "The command line of Backburner",
            "env": {"SHELL": "/bin/bash", "TERM": "xterm-256color"},
        }
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *self.events))


class Shell:
    """A bash on a pseudo-terminal. Each method records what is to be seen meanwhile."""

    def __init__(self, home: Path, terminal: int, reports: int) -> None:
        self._home = home
        self._terminal = terminal
        self._reports = reports
        self._recording = Recording()
        self._came = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = ""

    def start(self) -> None:
        """Wait for the first prompt."""
        self._until_reported()

    def run(self, step: Step) -> None:
        """Type the line, and wait for its end. Raises `RecordingFailed` where it ends otherwise than it should."""
        for keys in step.keys:
            if isinstance(keys, Tab):
                self._press("\t", keys.types)
            else:
                for key in keys:
                    self._press(key, key)
        at, place = self._recording.seconds, len(self._recording.events)
        os.write(self._terminal, b"\r")
        status, line = self._until_reported()
        self._recording.events.insert(place, (round(at, 3), "m", line))
        if status != step.status and not line.startswith("#"):  # A comment leaves the status as it was.
            raise RecordingFailed(f"{line!r} ended with {status}, not {step.status}")
        self._recording.seconds += _READING_SECONDS

    def recorded(self) -> str:
        """The recording as a file's text."""
        return self._recording.text()

    def _press(self, key: str, typed: str) -> None:
        """Press a key, and wait until the shell has typed this behind what is there."""
        self._recording.seconds += _KEY_SECONDS
        awaited = self._line + typed
        os.write(self._terminal, key.encode())
        pressed_at = time.monotonic()

        def is_typed() -> bool:
            nonlocal pressed_at
            if key == "\t" and time.monotonic() - pressed_at > _TAB_SECONDS:
                # On a busy machine the store may answer too late: then nothing is offered.
                os.write(self._terminal, key.encode())
                pressed_at = time.monotonic()
            return self._line.startswith(awaited)

        self._until(is_typed, f"{awaited!r}")

    def _until_reported(self) -> tuple[int, str]:
        """The last command's exit status and line, once the next prompt is there."""
        self._until(lambda: bool(select.select([self._reports], [], [], 0)[0]), "the command's end")
        status, _, line = os.read(self._reports, _READ_BYTES).decode().rstrip("\n").partition("\t")
        self._until(lambda: self._line == _PROMPT, "the prompt")
        return int(status), line.strip().partition(" ")[2].strip()  # Its number comes first.

    def _until(self, is_there: Callable[[], bool], what: str) -> None:
        """Show what comes until it is there. Raises `RecordingFailed`."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        since = time.monotonic()
        while not is_there():
            if time.monotonic() > deadline:
                raise RecordingFailed(f"waited for {what}; the terminal showed {self._line!r}")
            if select.select([self._terminal], [], [], _POLL_SECONDS)[0]:
                now = time.monotonic()
                self._came += os.read(self._terminal, _READ_BYTES)
                self._show(len(self._came) - self._begun_count(), min(now - since, _LONGEST_WAIT_SECONDS))
                since = now
            else:
                self._show(len(self._came))

    def _begun_count(self) -> int:
        """How many bytes at the end of what came may be the beginning of the home's name."""
        home = os.fsencode(self._home)
        return max(count for count in range(len(home)) if self._came.endswith(home[:count]))

    def _show(self, count: int, after_seconds: float = 0.0) -> None:
        """Record so many bytes of what came."""
        text = self._decoder.decode(self._came[:count]).replace(str(self._home), _HOME)
        self._came = self._came[count:]
        if text:
            self._recording.add("o", text, after_seconds=after_seconds)
            self._line = (self._line + text).rpartition("\n")[2]


@contextmanager
def _bash(home: Path) -> Iterator[Shell]:
    """A shell with this home, in it; ended with the block."""
    (home / ".inputrc").write_text("set bell-style none\nset enable-bracketed-paste off\n", encoding="utf-8")
    reports, report = os.pipe()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(home)
        os.set_inheritable(report, True)  # noqa: FBT003 - it has no name
        # At each prompt: how the last command ended, and what it was.
        told = rf'printf "%s\t%s\n" "$?" "$(history 1)" >&{report}'
        variables = {**_environment(home), "PS1": _PROMPT, "PROMPT_COMMAND": told, "HISTFILE": ""}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], variables)  # noqa: S606 - the shell
    os.close(report)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROW_COUNT, _COLUMN_COUNT, 0, 0))
    try:
        yield Shell(home, terminal, reports)
    finally:
        os.close(terminal)  # Hangs up.
        os.close(reports)
        os.waitpid(process, 0)


def _environment(home: Path) -> Mapping[str, str]:
    """The variables of a new user's shell, with this environment's programs on its path."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{_BACKBURNER.parent}:{os.environ['PATH']}",
        "TERM": "xterm-256color",
    }


def _wait_until_listed(beginning: str, home: Path) -> None:
    """Wait until `backburner jobs` lists an id that begins so. Raises `RecordingFailed`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    environment = {**_environment(home), **stack_variables(home)}
    while True:
        listed = subprocess.run([_BACKBURNER, "jobs", "--json"], env=environment, capture_output=True, check=True)
        if any(json.loads(line)["id"].startswith(beginning) for line in listed.stdout.splitlines()):
            return
        if time.monotonic() > deadline:
            raise RecordingFailed(f"nothing was listed that begins with {beginning}")
        time.sleep(_POLL_SECONDS)


def _prepare(home: Path) -> None:
    """Put what the session uses into its folder."""
    prompts = (_ROOT / "examples" / "prompts.jsonl").read_text(encoding="utf-8")
    (home / "prompts.jsonl.gz").write_bytes(gzip.compress(prompts.encode(), mtime=0))
    (home / "slow.jsonl").write_text(prompts.replace('"content": "', '"content": "[[slow:300]] '), encoding="utf-8")
    shutil.copy(_ROOT / "examples" / "raw_kafka.py", home)
    (home / ".config" / "backburner").mkdir(parents=True)


def main() -> None:
    """Record the session and write the file. Raises `RecordingFailed`."""
    with tempfile.TemporaryDirectory(prefix="backburner-session-") as folder:
        home = Path(folder).resolve()
        _prepare(home)
        try:
            with _bash(home) as shell:
                shell.start()
                for step in SESSION:
                    if step.once_listed:
                        _wait_until_listed(step.once_listed, home)
                    shell.run(step)
                recorded = shell.recorded()
        finally:
            subprocess.run([_BACKBURNER, "down"], cwd=home, env=_environment(home), capture_output=True, check=False)
    _RECORDING.write_text(recorded, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except RecordingFailed as error:
        sys.exit(str(error))
