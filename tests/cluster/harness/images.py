"""The product's images for the tests: built from `docker/` and loaded into all nodes, or those of a registry."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import images as builder
from harness.cluster import Cluster
from harness.figures import Figures

REGISTRY_VARIABLE = "BACKBURNER_TEST_REGISTRY"
TAG_VARIABLE = "BACKBURNER_TEST_TAG"
_OWN_TAG = "test"


@dataclass(slots=True)
class Images:
    """Where the chart finds the images; `ensure` builds what a test needs, each once."""

    cluster: Cluster
    figures: Figures
    folder: Path
    """For files of the tests."""
    _built: set[tuple[str, str]] = field(default_factory=set)

    @property
    def registry(self) -> str:
        """As `image.registry` takes it."""
        return "localhost" if self.cluster.is_own else os.environ[REGISTRY_VARIABLE]

    @property
    def tag(self) -> str:
        """As `image.tag` takes it."""
        return _OWN_TAG if self.cluster.is_own else os.environ.get(TAG_VARIABLE, _OWN_TAG)

    def name(self, part: str, tag: str | None = None) -> str:
        """A part's image, as a pod names it."""
        return f"{self.registry}/backburner/{part}:{tag or self.tag}"

    def ensure(self, parts: Iterable[str] = builder.PARTS, *, tag: str = _OWN_TAG, source: Path = builder.ROOT) -> None:
        """These parts' images are there, of this working copy or another; those of a registry are taken as they are."""
        for part in parts:
            if not self.cluster.is_own or (part, tag) in self._built:
                continue
            built = builder.build(self.cluster.program, part, tag, source=source)
            self._built.add((part, tag))
            self.figures.measure(f"image {built.name}, built and loaded", f"{built.seconds:.0f} s")
