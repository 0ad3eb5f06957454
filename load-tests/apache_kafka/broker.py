"""A broker of Apache Kafka as a child process on loopback, which can be stopped, killed, paused and started again.

`release` and `java` find what it runs, `configuration` sets it up, `cluster` has several of them. Its topics are
created by its users.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apache_kafka.configuration import PLAIN, Configuration, Listener
from apache_kafka.java import find_java
from apache_kafka.release import find_jars
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import kafka_brokers
from backburner_schemas.errors import QueueError

_READY_SECONDS = 120.0
"""Some 5 s on an idle machine; a busy one has to start a JVM twice."""
_STOP_SECONDS = 20.0
_QUICK_JVM = ("-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a short life, in which a quick start matters more than speed in the long run."""
_STEADY_JVM = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
"""As Kafka's own start script has it."""
_LOGGING = "-Dorg.apache.logging.log4j.level=WARN"
"""For a release, whose logging is Log4j's."""
_CLUSTER = "YmFja2J1cm5lci10ZXN0cw"
"""16 bytes in URL-safe base 64, as Kafka wants its cluster's id."""


class ApacheKafka:
    """One broker. Its data outlives its process: started again, it goes on."""

    def __init__(
        self,
        folder: Path,
        set_up: Configuration,
        *,
        steady: bool = False,
        jvm: Sequence[str] = (),
        format_options: Sequence[str] = (),
    ) -> None:
        """Properties and logs go into the folder; `jvm` are more words for Java, `format_options` for the format tool.

        A `steady` one is what speed is measured on: it starts slower, has 1 GiB of heap, and Java makes it as fast as
        it can. Raises as `find_jars` and `find_java` do.
        """
        self._folder = folder.absolute()
        self._set_up = set_up
        self._properties = self._folder / "broker.properties"
        broker = (*java_with_jars(_STEADY_JVM if steady else _QUICK_JVM), *jvm, "kafka.Kafka", str(self._properties))
        self._child = Child(self._program(f"broker {set_up.node}", broker))
        options = ("--cluster-id", _CLUSTER, "--config", str(self._properties), *format_options)
        self._format_tool = Child(
            self._program("format tool", (*java_with_jars(), "kafka.tools.StorageTool", "format", *options))
        )

    @property
    def node(self) -> int:
        """Its number in its cluster."""
        return self._set_up.node

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT` of its listener PLAINTEXT, as Kafka clients take it."""
        return self.address(PLAIN)

    def address(self, listener: str) -> str:
        """The same of the listener with that name."""
        (port,) = (one.reached_at for one in self._set_up.listeners if one.name == listener)
        return f"{LOOPBACK}:{port}"

    @property
    def data(self) -> Path:
        """The folder with its logs."""
        return self._set_up.data

    @property
    def running(self) -> bool:
        """Whether its process runs, paused or not."""
        return self._child.running

    @property
    def pid(self) -> int:
        """The id of its process, also after its end. It must have been started."""
        assert self._child.pid is not None
        return self._child.pid

    @property
    def ready(self) -> bool:
        """Whether it answers, and counts among the brokers of its cluster. Takes two seconds at most."""
        return self.node in self.knows()

    def knows(self) -> frozenset[int]:
        """The numbers of the brokers in its cluster, itself included, as it tells them; none if it does not answer."""
        return kafka_brokers(self._set_up.listeners[0].port)

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers. Raises `QueueError`. From the main thread alone."""
        self.begin_format()
        self.launch()
        self.wait()

    def begin_format(self) -> None:
        """Begin to prepare the data folder, which a broker refuses to do by itself; nothing where that was done."""
        if not (self._set_up.data / "meta.properties").exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._properties.write_text(self._set_up.text(), encoding="utf-8")
            self._format_tool.start()

    def launch(self) -> None:
        """Start its process, once its folder is prepared, and return at once: `ready` tells when it answers."""
        if self._format_tool.pid is not None:
            self._format_tool.wait_until(lambda: self._format_tool.exit_status() == 0, seconds=_READY_SECONDS)
        self._child.start()

    def wait(self, *others: int) -> None:
        """Wait until it is ready and counts those others too; if that never comes, kill it and raise `QueueError`."""
        wanted = {self.node, *others}
        try:
            self._child.wait_until(lambda: wanted <= self.knows(), seconds=_READY_SECONDS)
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

    def _program(self, name: str, words: tuple[str, ...]) -> Program:
        return Program(
            name=f"Apache Kafka's {name}",
            argv=words,
            env=clean_environment(),
            log=self._folder / "logs" / f"{name.replace(' ', '-')}.log",
            error=QueueError,
        )


def java_with_jars(jvm: Sequence[str] = _QUICK_JVM) -> tuple[str, ...]:
    """The words that run a class of Kafka's, which comes after them. Raises as `find_jars` and `find_java` do."""
    return (find_java(), *jvm, _LOGGING, "-cp", str(find_jars() / "*"))


def plain(folder: Path, leases: PortLeases) -> Configuration:
    """One broker that is its own controller, without security, with its data in that folder."""
    return Configuration(folder.absolute() / "data", (Listener(PLAIN, leases.take()),), {1: leases.take()})


@contextmanager
def start(folder: Path, *, steady: bool = False) -> Iterator[ApacheKafka]:
    """A running broker with its data in that folder. Raises as `ApacheKafka` and its `start` do."""
    with PortLeases() as leases:
        broker = ApacheKafka(folder, plain(folder, leases), steady=steady)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()
