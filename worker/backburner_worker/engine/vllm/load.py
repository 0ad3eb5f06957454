"""How full vLLM is, from what its schedulers report after each step. It imports nothing of vLLM, which is passed this.

vLLM asks a `Meters` for a stat logger for each of its schedulers, and calls that once a step on this process's own
event loop, with what it puts into its `vllm:…` metrics. So nothing is polled, and no step is missed.
"""

from typing import Any

from backburner_worker.engine.base import EngineLoad
from backburner_worker.engine.load_meter import LoadMeter


class StatLogger:
    """Implements vLLM's stat logger on a meter."""

    def __init__(self, meter: LoadMeter) -> None:
        self._meter = meter

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Record a step. Without the scheduler's statistics it has nothing that counts here."""
        del mm_cache_stats, engine_idx
        if scheduler_stats is None:
            return
        self._meter.step(
            scheduler_stats.num_running_reqs,
            # Those that wait for their adapter's turn are in the engine for nothing, too.
            scheduler_stats.num_waiting_reqs + getattr(scheduler_stats, "num_skipped_waiting_reqs", 0),
            scheduler_stats.kv_cache_usage,
            generated=iteration_stats.num_generation_tokens if iteration_stats is not None else 0,
            preempted=iteration_stats.num_preempted_reqs if iteration_stats is not None else 0,
        )

    def log(self) -> None:
        """Nothing is logged."""

    def log_engine_initialized(self) -> None:
        """Nothing is logged."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """The worker's engine never sleeps."""


class Meters:
    """A meter for each scheduler; there are several with data parallelism."""

    def __init__(self) -> None:
        self._meters: list[LoadMeter] = []

    def __call__(self, config: Any, _engine_index: int) -> StatLogger:
        """A stat logger, as vLLM asks for it."""
        meter = LoadMeter(config.scheduler_config.max_num_seqs)
        self._meters.append(meter)
        return StatLogger(meter)

    def steps(self) -> int | None:
        """Steps so far, of all of them; None without statistics, which are what shows them."""
        return sum(meter.steps for meter in self._meters) if self._meters else None

    def load(self) -> EngineLoad | None:
        """All of them in sum, and of the KV caches the fullest; None before the first step."""
        loads = [load for meter in self._meters if (load := meter.load()) is not None]
        if not loads:
            return None
        return EngineLoad(
            running=sum(load.running for load in loads),
            waiting=sum(load.waiting for load in loads),
            kv_used=max(load.kv_used for load in loads),
            least_waiting=sum(load.least_waiting for load in loads),
            steps=max(load.steps for load in loads),
            vacant=sum(load.vacant for load in loads),
            generated=sum(load.generated for load in loads),
            preempted=sum(load.preempted for load in loads),
        )
