"""Apache Kafka beside the cluster, over SASL_SSL, with one user a part and the rights that docs/kafka.md gives them."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import pages
from harness.cluster import HOST, Cluster, ServerMissing

from apache_kafka.java import find_java
from apache_kafka.release import find_jars

_PAGE = "kafka.md"
USERS = ("gateway", "dispatcher", "worker", "bootstrap", "producer")
PARTITIONS = 8
QUEUE_VARIABLE = "BACKBURNER_TEST_QUEUE_URL"
_SECURITY = "BACKBURNER_KAFKA_SECURITY_"
_TOOLS = {"kafka-acls.sh": "AclCommand", "kafka-configs.sh": "ConfigCommand"}
_ADMIN = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512"}
_RIGHTS_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Kafka:
    """One broker: where it is, who may use it, and how it is stopped and started."""

    cluster: Cluster
    script: Path
    folder: Path
    bootstrap: str
    authority: Path
    """PEM file that clients trust."""
    passwords: Mapping[str, str] = field(repr=False)
    """By part."""

    def secret(self, part: str) -> dict[str, str]:
        """User and password of a part, as the chart's Secret has them."""
        return {"username": user_of(part), "password": self.passwords[part]}

    def values(self) -> dict[str, Any]:
        """How the chart is told to speak to it."""
        return {
            "securityProtocol": _ADMIN["protocol"],
            "mechanism": _ADMIN["mechanism"],
            "caFrom": {"configMap": "authorities", "key": "kafka.crt"},
            "topics": {"partitions": PARTITIONS, "replication": 1},
        }

    @property
    def queue_url(self) -> str:
        """As BACKBURNER_QUEUE_URL takes it."""
        return f"kafka://{self.bootstrap}"

    def settings(self, part: str) -> dict[str, str]:
        """Variables for a client on this machine that signs in as that part; `admin` may do all."""
        user, password = ("admin", "secret") if part == "admin" else (user_of(part), self.passwords[part])
        return {
            "BACKBURNER_QUEUE_URL": self.queue_url,
            "BACKBURNER_KAFKA_SECURITY_PROTOCOL": _ADMIN["protocol"],
            "BACKBURNER_KAFKA_SECURITY_MECHANISM": _ADMIN["mechanism"],
            "BACKBURNER_KAFKA_SECURITY_USERNAME": user,
            "BACKBURNER_KAFKA_SECURITY_PASSWORD": password,
            "BACKBURNER_KAFKA_SECURITY_CA_FILE": str(self.authority),
            "BACKBURNER_TOPIC_REPLICATION": "1",
            "BACKBURNER_TOPIC_PARTITIONS": str(PARTITIONS),
        }

    def make_users(self) -> None:
        """Every part's user, by the page's commands."""
        self._run_page("Users")

    def grant(self, prefix: str, *pools: str) -> None:
        """The rights that the parts need there, by the page's commands."""
        self._run_page("Rights, once for a deployment", PREFIX=prefix)
        for pool in pools:
            self._run_page("Rights, once for each pool", PREFIX=prefix, POOL=pool)

    def stop(self) -> None:
        """SIGTERM to the broker, as when its pod is restarted; returns when it is gone."""
        pid = (self.folder / "1.pid").read_text().strip()
        self._script("stop", "1")
        self.cluster.until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the broker")

    def start(self) -> None:
        """Start it again; returns when it answers."""
        self._script("start", "1")

    def down(self) -> None:
        """End it and delete its data."""
        self._script("down")

    def up(self) -> None:
        """Format, start, wait until it answers."""
        self._script("up")

    def _script(self, *words: str) -> None:
        self.cluster.run(self.script, *words, env=self._environment(), seconds=_RIGHTS_SECONDS)

    def _run_page(self, heading: str, **variables: str) -> None:
        """Run the commands under that heading of the page, as they stand there."""
        tools = "\n".join(
            f'{name}() {{ "{self.script}" tool org.apache.kafka.tools.{tool} "$@"; }}' for name, tool in _TOOLS.items()
        )
        commands = f"set -euo pipefail\ncd {self.folder}\n{tools}\n{pages.commands(_PAGE, heading)}"
        (self.folder / "admin.properties").write_text((self.folder / "client.properties").read_text())
        given = {**variables, "BROKERS": self.bootstrap, "PASSWORDS": str(self.folder / "passwords")}
        self.cluster.run("bash", "-c", commands, env={**self._environment(), **given}, seconds=_RIGHTS_SECONDS)

    def _environment(self) -> dict[str, str]:
        options = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        # Without it Java asks a name server for the name of each address, and none answers in that network.
        hosts = f"-Djdk.net.hosts.file={self.folder}/hosts"
        return {
            "KAFKA_SECURE": "1",
            "KAFKA_HOST": HOST,
            "KAFKA_DATA": str(self.folder),
            "KAFKA_HEAP": "320m",
            "JAVA": find_java(),
            "JAVA_TOOL_OPTIONS": f"{options} {hosts}",
        }


@dataclass(frozen=True, slots=True)
class OutsideKafka:
    """Somebody's broker, with one user for all parts, as the variables of docs/certify.md name it."""

    queue_url: str
    authority: Path | None

    @property
    def bootstrap(self) -> str:
        """Its bootstrap servers."""
        return self.queue_url.removeprefix("kafka://")

    def secret(self, part: str) -> dict[str, str]:
        """User and password, the same for every part."""
        return {
            "username": os.environ.get(f"{_SECURITY}USERNAME", user_of(part)),
            "password": os.environ.get(f"{_SECURITY}PASSWORD", ""),
        }

    def values(self) -> dict[str, Any]:
        """How the chart is told to speak to it."""
        authority = {} if self.authority is None else {"caFrom": {"configMap": "authorities", "key": "kafka.crt"}}
        return {
            "securityProtocol": os.environ.get(f"{_SECURITY}PROTOCOL", "PLAINTEXT"),
            "mechanism": os.environ.get(f"{_SECURITY}MECHANISM", _ADMIN["mechanism"]),
            "topics": {
                "partitions": PARTITIONS,
                "replication": int(os.environ.get("BACKBURNER_TOPIC_REPLICATION", "3")),
            },
            **authority,
        }

    def settings(self, _part: str) -> dict[str, str]:
        """Variables of a client on this machine; the rest is in its environment."""
        return {"BACKBURNER_QUEUE_URL": self.queue_url, "BACKBURNER_TOPIC_PARTITIONS": str(PARTITIONS)}

    def grant(self, prefix: str, *pools: str) -> None:
        """Nothing: what the user may do is the owner's to say."""


def outside() -> OutsideKafka:
    """The broker that the environment names. Raises `ServerMissing` where it names none."""
    url = os.environ.get(QUEUE_VARIABLE, "")
    if not url.startswith("kafka://"):
        raise ServerMissing(f"{QUEUE_VARIABLE} names no Kafka; set it to kafka://host:port, where pods reach it")
    authority = os.environ.get(f"{_SECURITY}CA_FILE")
    return OutsideKafka(url, Path(authority) if authority else None)


def user_of(part: str) -> str:
    """Kafka's user of a part."""
    return f"backburner-{part}"


@contextmanager
def start(cluster: Cluster, folder: Path) -> Iterator[Kafka]:
    """A running broker in the cluster's network, with its users, who may do nothing yet. Raises `KafkaMissing`."""
    script = find_jars().parent / "kafka"
    folder.mkdir(parents=True)
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{HOST} node-1\n")
    passwords = {part: secrets.token_hex(12) for part in USERS}
    (folder / "passwords").mkdir(mode=0o700)
    for part, password in passwords.items():
        (folder / "passwords" / part).write_text(password)
    broker = Kafka(cluster, script, folder, f"{HOST}:29001", folder / "tls.crt", passwords)
    broker.up()
    try:
        broker.make_users()
        yield broker
    finally:
        broker.down()
