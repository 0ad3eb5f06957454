"""Several brokers of Apache Kafka as one cluster: every topic on up to three of them, every node a controller.

With three, two of a partition's replicas have to be in sync, so that one broker at a time may be missing.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from apache_kafka.broker import ApacheKafka, java_with_jars
from apache_kafka.configuration import PLAIN, Configuration, Listener
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner_schemas.errors import QueueError

_TOOL_SECONDS = 120.0


class Cluster:
    """Brokers that know each other. `nodes` are they, by their numbers, from 1 on."""

    def __init__(
        self, folder: Path, leases: PortLeases, *, brokers: int, fronts: Mapping[int, int] | None = None
    ) -> None:
        """Each broker's data, properties and logs go into a folder of its own in that folder.

        `fronts` are ports, by the broker's number, that clients are sent to instead of the broker's own, such as those
        of proxies; brokers reach each other directly. Raises as `ApacheKafka` does.
        """
        numbers = range(1, brokers + 1)
        controllers = {number: leases.take() for number in numbers}
        self.nodes: dict[int, ApacheKafka] = {}
        self.ports: dict[int, int] = {}
        """The port of each broker's own listener for clients, by its number: what a proxy leads to."""
        self._fronts = dict(fronts or {})
        for number in numbers:
            own = folder.absolute() / str(number)
            self.ports[number] = leases.take()
            listeners = (
                Listener("BROKERS", leases.take()),
                Listener(PLAIN, self.ports[number], advertised=self._fronts.get(number)),
            )
            self.nodes[number] = ApacheKafka(own, Configuration(own / "data", listeners, controllers, node=number))

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT,…` of all brokers, as Kafka clients take it."""
        return ",".join(f"{LOOPBACK}:{self._fronts.get(number, port)}" for number, port in self.ports.items())

    def start(self) -> None:
        """Start those that do not run; returns when each knows all. Raises `QueueError`. From the main thread alone."""
        away = [node for node in self.nodes.values() if not node.running]
        for node in away:
            node.begin_format()
        for node in away:
            node.launch()
        for node in self.nodes.values():
            node.wait(*self.nodes)

    def kill(self) -> None:
        """SIGKILL to all. Stopped in order together, the last ones would wait for a controller that is gone."""
        for node in self.nodes.values():
            node.kill()

    def tool(self, name: str, *words: str, stdin: str | None = None) -> str:
        """Run a class of Kafka's own command line on this cluster, such as `TopicCommand`; what it printed.

        `words` are its arguments but for `--bootstrap-server`. Raises `QueueError` with what it printed if it fails. It
        takes some 2 s, and may be called from any thread.
        """
        return run_tool(self.bootstrap, name, *words, stdin=stdin)


def run_tool(bootstrap: str, name: str, *words: str, stdin: str | None = None) -> str:
    """As `Cluster.tool`, on the brokers at that address."""
    command: Sequence[str] = (
        *java_with_jars(),
        f"org.apache.kafka.tools.{name}",
        *("--bootstrap-server", bootstrap),
        *words,
    )
    ended = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False)
    if ended.returncode:
        raise QueueError(f"Apache Kafka's {name} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


@contextmanager
def start(folder: Path, *, brokers: int = 3) -> Iterator[Cluster]:
    """A running cluster with its data in that folder. Raises as `Cluster` and its `start` do."""
    with ExitStack() as stack:
        cluster = Cluster(folder, stack.enter_context(PortLeases()), brokers=brokers)
        stack.callback(cluster.kill)
        cluster.start()
        yield cluster
