"""Clients of a deployment on this machine: the command line and the tests' programs, in the cluster's network."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cluster import ROOT, Cluster
from harness.kafka import Kafka, OutsideKafka
from harness.object_store import ObjectStore

_IMPORTED = ("schemas", "producer", "worker", "load-tests", "tests/cluster")
_PROGRAMS = Path(__file__).parents[1] / "programs"


@dataclass(frozen=True, slots=True)
class Clients:
    """Whoever asks a deployment for something from outside."""

    cluster: Cluster
    broker: Kafka | OutsideKafka
    store: ObjectStore
    name: str
    """The deployment's prefix on the broker, and its root in the store."""

    def settings(self, part: str = "producer") -> dict[str, str]:
        """Variables of a client that signs in as that part."""
        authority = {} if self.store.authority is None else {"BACKBURNER_STORE_CA_FILE": str(self.store.authority)}
        return {
            **self.broker.settings(part),
            **self.store.environment,
            **authority,
            "BACKBURNER_STORE_URL": f"s3://{self.store.bucket}/{self.name}",
            **({"BACKBURNER_STORE_ENDPOINT": self.store.endpoint} if self.store.endpoint else {}),
            "BACKBURNER_PREFIX": self.name,
            "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in _IMPORTED),
        }

    def backburner(self, *words: str, part: str = "producer", seconds: float = 120.0) -> str:
        """What the command line prints."""
        command = (sys.executable, "-m", "backburner", *words)
        return self.cluster.run(*command, env=self.settings(part), seconds=seconds).stdout

    def start_program(self, name: str, *words: str, log: Path) -> "subprocess.Popen[bytes]":
        """Start a program of `programs`; what it prints goes into the file."""
        return self.cluster.start(sys.executable, _PROGRAMS / f"{name}.py", *words, log=log, env=self.settings())

    def program(self, name: str, *words: str, part: str = "producer", seconds: float = 300.0) -> Any:
        """What a program of `programs` prints, from JSON."""
        command = (sys.executable, _PROGRAMS / f"{name}.py", *words)
        return json.loads(self.cluster.run(*command, env=self.settings(part), seconds=seconds).stdout)
