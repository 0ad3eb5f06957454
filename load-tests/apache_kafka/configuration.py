"""How one broker of Apache Kafka is set up, as a value: the lines of its properties file."""

from dataclasses import dataclass
from pathlib import Path

from backburner.local.programs.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Configuration:
    """One broker that is its own controller, plain, on loopback."""

    port: int
    controller_port: int
    data: Path
    node: int = 1

    def text(self) -> str:
        """The properties file."""
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        # One replica of everything, and few partitions of Kafka's own topics: those are what a first start waits for.
        alone = {
            f"{topic}.{name}": 1
            for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
            for name in ("replication.factor", "num.partitions")
        }
        properties: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "controller.quorum.voters": f"{self.node}@{LOOPBACK}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items()),
            "log.dirs": self.data,
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            **alone,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # A group of one is not kept waiting for members that do not come.
            "group.initial.rebalance.delay.ms": 0,
            # A test that publishes to a missing topic must not create it.
            "auto.create.topics.enable": "false",
        }
        return "".join(f"{name}={value}\n" for name, value in properties.items())
