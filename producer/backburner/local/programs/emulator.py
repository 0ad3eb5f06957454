"""The embedded SQS: the emulator `ministack` as one child process on loopback.

It keeps its messages in memory and writes them down when it is asked to stop: after a kill -9 it has what it had at its
last stop, and nothing else. For laptops and tests; use Kafka's broker, or AWS, for more. It creates no queues:
`backburner.publishers.sqs.queues` does.
"""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from backburner.local.programs.child import Child, Pause, Program, clean_environment
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import http_status
from backburner.local.programs.state_file import read_state, saved_port, write_state
from backburner.local.programs.store import REGION
from backburner_schemas.errors import QueueError, SettingsError

_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
"""It lets long polls end, and then writes down what is on its queues."""
_OK_STATUS = 200
_OFF = "0"


class Emulator:
    """An SQS emulator that can be started, restarted in place, and stopped. It accepts any credentials."""

    def __init__(self, data: Path, leases: PortLeases) -> None:
        self._data = data.absolute()
        state_file = self._data / "sqs.json"
        self.port = leases.take(preferred=saved_port(read_state(state_file), "port"))
        write_state(state_file, {"port": str(self.port)})
        self.child = Child(self._program())

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, as AWS's clients take it."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """`sqs://…`, as BACKBURNER_QUEUE_URL takes it."""
        return f"sqs://{REGION}?endpoint={self.endpoint}"

    def start(self, pause: Pause = time.sleep) -> None:
        """Start it, or start it again, and wait until it answers. Raises `QueueError`."""
        self.child.start()
        try:
            self.child.wait_until(self._ready, seconds=_READY_SECONDS, pause=pause)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; what is on its queues is there again at the next start."""
        self.child.stop(grace=_STOP_SECONDS)

    def _ready(self) -> bool:
        return http_status(self.port, "/_ministack/health") == _OK_STATUS

    def _program(self) -> Program:
        check_emulator()
        state, scratch = self._data / "sqs", self._data / "sqs" / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return Program(
            name="the SQS emulator",
            argv=(sys.executable, "-m", "ministack"),
            env=clean_environment(
                # Without it, it listens on every interface.
                BIND_HOST=LOOPBACK,
                GATEWAY_PORT=str(self.port),
                # Queue URLs lead back to it by this name.
                MINISTACK_HOST=LOOPBACK,
                MINISTACK_REGION=REGION,
                SERVICES="sqs",
                PERSIST_STATE="1",
                STATE_DIR=str(state),
                # It leaves a file with its process id here.
                TMPDIR=str(scratch),
                LOG_LEVEL="WARNING",
                # Listeners of other services, which would take fixed ports on every interface.
                IOT_MTLS_ENABLED=_OFF,
                SFTP_ENABLED=_OFF,
            ),
            log=self._data / "logs" / "sqs.log",
            error=QueueError,
            cwd=state,
        )


def check_emulator() -> None:
    """Raise `SettingsError` if the emulator is not installed."""
    if importlib.util.find_spec("ministack") is None:
        raise SettingsError(
            "the SQS emulator is not installed; run `pip install 'backburner[local-sqs]'`, or `make setup`. It brings "
            "the one release of botocore that it works with: where a newer boto3 is needed, use another environment"
        )


@contextlib.contextmanager
def start(data: Path) -> Iterator[Emulator]:
    """A running emulator for tests and programs. Stopped at the end of the block."""
    with PortLeases() as leases:
        emulator = Emulator(data, leases)
        emulator.start()
        try:
            yield emulator
        finally:
            emulator.stop()
