"""How one broker of Apache Kafka is set up, as a value: the lines of its properties file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backburner.local.programs.ports import LOOPBACK

PLAIN = "PLAINTEXT"
"""The protocol without security, and the name of the listener for clients that speak it."""

_CONTROLLER = "CONTROLLER"
_MAX_REPLICAS = 3
_FENCED_SECONDS = 6
"""How long a broker that died still counts: half as long as Kafka's own default, so that tests need not wait."""
_COUNTED_TOPICS = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
"""Kafka's own topics whose replicas and partitions a broker is told."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a broker listens on, and what clients have to speak there."""

    name: str
    port: int
    protocol: str = PLAIN
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    advertised: int | None = None
    """The port that clients are told to come to, such as a proxy's; the listener's own if None."""

    @property
    def reached_at(self) -> int:
        """The port at which clients reach it."""
        return self.port if self.advertised is None else self.advertised


@dataclass(frozen=True, slots=True)
class Configuration:
    """One broker on loopback that is a controller as well, alone or one of several."""

    data: Path
    listeners: tuple[Listener, ...]
    """The first is a plain one: by it the brokers find each other, and the harness asks whether they answer."""
    controllers: Mapping[int, int]
    """The controller's port of every node of the cluster, by the node's number."""
    node: int = 1
    more: Mapping[str, object] = field(default_factory=dict)
    """Further properties, such as those of security; they win."""

    @property
    def replicas(self) -> int:
        """Of each topic that says nothing else."""
        return min(len(self.controllers), _MAX_REPLICAS)

    def text(self) -> str:
        """The properties file."""
        in_sync = max(1, self.replicas - 1)
        own = {
            f"{topic}.{name}": count
            for topic in _COUNTED_TOPICS
            # Few partitions of Kafka's own topics, since those are what a first start waits for: one for each broker.
            for name, count in (("replication.factor", self.replicas), ("num.partitions", len(self.controllers)))
        }
        listening = {one.name: one.port for one in self.listeners} | {_CONTROLLER: self.controllers[self.node]}
        protocols = {one.name: one.protocol for one in self.listeners} | {_CONTROLLER: PLAIN}
        properties: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "controller.quorum.voters": ",".join(
                f"{node}@{LOOPBACK}:{port}" for node, port in self.controllers.items()
            ),
            "controller.listener.names": _CONTROLLER,
            "inter.broker.listener.name": self.listeners[0].name,
            "listeners": ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listening.items()),
            "advertised.listeners": ",".join(f"{one.name}://{LOOPBACK}:{one.reached_at}" for one in self.listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "log.dirs": self.data,
            "default.replication.factor": self.replicas,
            "min.insync.replicas": in_sync,
            **own,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.min.isr": in_sync,
            "broker.session.timeout.ms": 1000 * _FENCED_SECONDS,
            # A group of one is not kept waiting for members that do not come.
            "group.initial.rebalance.delay.ms": 0,
            # A test that publishes to a missing topic must not create it.
            "auto.create.topics.enable": "false",
            **self.more,
        }
        return "".join(f"{name}={value}\n" for name, value in properties.items())
