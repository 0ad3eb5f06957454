"""Brokers for a whole session of tests: each its own process, folder and port."""

import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from backburner.local.child import Child, Program, clean_environment
from backburner.local.ports import LOOPBACK, PortLeases
from backburner.local.probe import speaks_kafka
from backburner_schemas.errors import QueueError

PATIENCE = 60.0


def find_noida() -> Path | None:
    """noida-db's program, where the package is installed."""
    package = importlib.util.find_spec("noida_db")
    return None if package is None or package.origin is None else Path(package.origin).parent / "noida-db"


class Noida:
    """The broker `noida-db`, which does what Kafka does where Tansu does not. It can be restarted in place."""

    def __init__(self, program: Path, data: Path, leases: PortLeases) -> None:
        self.port = leases.take()
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        port = str(self.port)
        argv = (str(program), "start", "--data-dir", str(data), "--only", "kafka", "--kafka-port", port)
        self._child = Child(
            Program(name="noida", argv=argv, env=clean_environment(), log=data / "noida.log", error=QueueError)
        )

    def start(self) -> None:
        self._child.start()
        self._child.wait_until(lambda: speaks_kafka(self.port), seconds=PATIENCE)

    def stop(self) -> None:
        self._child.stop(grace=10.0)

    @contextlib.contextmanager
    def silenced(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self._child.pid is not None
        os.killpg(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._child.pid, signal.SIGCONT)
