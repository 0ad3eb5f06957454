"""How much of the prompts vLLM had in its prefix cache, from its own counters in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client import REGISTRY

_QUERIES = "vllm:prefix_cache_queries_total"
_HITS = "vllm:prefix_cache_hits_total"


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """Prompt tokens since the engine's start."""

    asked: float
    """That were looked up."""
    found: float
    """That were there."""

    @classmethod
    def now(cls) -> Self:
        """As vLLM counts them; zeros without vLLM."""
        return cls.of({s.name: s.value for family in REGISTRY.collect() for s in family.samples})

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Self:
        """From metrics by name."""
        return cls(metrics.get(_QUERIES, 0.0), metrics.get(_HITS, 0.0))

    def since(self, before: "PrefixCache") -> float:
        """Share of the prompt tokens since then that were there, from 0 to 1."""
        return (self.found - before.found) / max(self.asked - before.asked, 1.0)
