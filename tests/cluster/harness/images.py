"""The product's images for the tests: built from `docker/` and loaded into all nodes, or those of a registry."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import images as builder
from harness.cluster import Cluster

REGISTRY_VARIABLE = "BACKBURNER_TEST_REGISTRY"
TAG_VARIABLE = "BACKBURNER_TEST_TAG"


class Images:
    """Where the chart finds the images; `ensure` builds what a test needs, each once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._built: set[tuple[str, str]] = set()
        self.folder = Path(tempfile.mkdtemp(prefix="backburner-cluster-"))
        """For files of the tests."""

    @property
    def registry(self) -> str:
        """As `image.registry` takes it."""
        if self._cluster.is_own:
            return "localhost"
        return os.environ[REGISTRY_VARIABLE]

    @property
    def tag(self) -> str:
        """As `image.tag` takes it."""
        return "test" if self._cluster.is_own else os.environ.get(TAG_VARIABLE, "test")

    def ensure(self, parts: Iterable[str] = ("gateway", "dispatcher", "worker")) -> None:
        """These parts' images of this working copy are there."""
        for part in parts:
            if self._cluster.is_own and (part, self.tag) not in self._built:
                builder.build(part, f"localhost/backburner/{part}:{self.tag}")
                self._built.add((part, self.tag))
