"""A broker of Apache Kafka as a child process on loopback, which can be stopped, killed, paused and started again.

`release` and `java` find what it runs, `configuration` sets it up. Its topics are created by its users.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_kafka.configuration import Configuration
from apache_kafka.java import find_java
from apache_kafka.release import find_jars
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import speaks_kafka
from backburner_schemas.errors import QueueError

_READY_SECONDS = 120.0
"""Some 5 s on an idle machine; a busy one has to start a JVM twice."""
_STOP_SECONDS = 20.0
_JVM = (
    "-Xmx320m",
    # A short life: a quick start matters more than speed in the long run.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # For a release, whose logging is Log4j's.
    "-Dorg.apache.logging.log4j.level=WARN",
)
_CLUSTER = "YmFja2J1cm5lci10ZXN0cw"
"""16 bytes in URL-safe base 64, as Kafka wants its cluster's id."""


class ApacheKafka:
    """One broker. Its data outlives its process: started again, it goes on."""

    def __init__(self, folder: Path, leases: PortLeases) -> None:
        """Data, properties and logs go into the folder. Raises as `find_jars` and `find_java` do."""
        self._folder = folder.absolute()
        self._java = (find_java(), *_JVM, "-cp", str(find_jars() / "*"))
        self._set_up = Configuration(leases.take(), leases.take(), data=self._folder / "data")
        self._properties = self._folder / "broker.properties"
        self._child = Child(self._program("broker", "kafka.Kafka", str(self._properties)))

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, as Kafka clients take it."""
        return f"{LOOPBACK}:{self._set_up.port}"

    @property
    def running(self) -> bool:
        """Whether its process runs, paused or not."""
        return self._child.running

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers. Raises `QueueError`. From the main thread alone."""
        if not (self._set_up.data / "meta.properties").exists():
            self._format()
        self._child.start()
        try:
            self._child.wait_until(lambda: speaks_kafka(self._set_up.port), seconds=_READY_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it in order, as an operator does."""
        self._child.stop(grace=_STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._child.running and self._child.pid is not None:
            os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop(grace=_STOP_SECONDS)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._child.pid, signal.SIGCONT)

    def _format(self) -> None:
        """Prepare the data folder, which a broker refuses to do by itself."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._set_up.text(), encoding="utf-8")
        options = ("--cluster-id", _CLUSTER, "--config", str(self._properties))
        tool = Child(self._program("format tool", "kafka.tools.StorageTool", "format", *options))
        tool.start()
        tool.wait_until(lambda: tool.exit_status() == 0, seconds=_READY_SECONDS)

    def _program(self, name: str, *words: str) -> Program:
        return Program(
            name=f"Apache Kafka's {name}",
            argv=(*self._java, *words),
            env=clean_environment(),
            log=self._folder / "logs" / f"{name}.log",
            error=QueueError,
        )


@contextmanager
def start(folder: Path) -> Iterator[ApacheKafka]:
    """A running broker with its data in that folder. Raises as `ApacheKafka` and its `start` do."""
    with PortLeases() as leases:
        broker = ApacheKafka(folder, leases)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()
