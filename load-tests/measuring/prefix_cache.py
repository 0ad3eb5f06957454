"""How much of the prompts vLLM had in its prefix cache, from its own counters in this process."""

from dataclasses import dataclass
from typing import ClassVar, Self

from prometheus_client import REGISTRY


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """Prompt tokens since the engine's start."""

    NAMES: ClassVar = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    """What vLLM calls them, in the order of the fields."""

    asked: float
    """Tokens that were looked up."""
    found: float
    """Tokens that were found."""

    @classmethod
    def now(cls) -> Self:
        """As vLLM counts them; zeros without vLLM."""
        metrics = {sample.name: sample.value for family in REGISTRY.collect() for sample in family.samples}
        return cls(*(metrics.get(name, 0.0) for name in cls.NAMES))

    def since(self, before: "PrefixCache") -> float:
        """Share of the prompt tokens since then that were found, from 0 to 1."""
        return (self.found - before.found) / max(self.asked - before.asked, 1.0)
