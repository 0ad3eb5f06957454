"""A warm child process that answers one JSON line with another: how two engines are kept side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring.pairs import Measured

_LOAD_TESTS = str(Path(__file__).parents[1])


class Child:
    """A program of `programs`, running, with its engine warm."""

    def __init__(self, process: "subprocess.Popen[str]", program: str) -> None:
        self._process = process
        self._program = program

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        self.send(question)
        return self.answer()

    def send(self, question: Mapping[str, Any]) -> None:
        """Send a line; `answer` waits for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def measure(self, work: float, **question: Any) -> Measured:
        """Ask, and take the `seconds` and `cpu_seconds` of the answer; the rest of it is `extra`."""
        found = self.ask(question)
        return Measured(found.pop("seconds"), found.pop("cpu_seconds"), work, found)

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises `RuntimeError` if the child ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{self._program} ended with {self._process.wait()}; its last output is above")


def with_programs(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs a module of `programs`."""
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, (_LOAD_TESTS, env.get("PYTHONPATH"))))}


@contextmanager
def child(program: str, *arguments: str, env: Mapping[str, str]) -> Iterator[Child]:
    """Start a module of `programs`, wait until it is warm, and end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"programs.{program}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=with_programs(env),
    )
    try:
        running = Child(process, program)
        running.answer()
        yield running
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
