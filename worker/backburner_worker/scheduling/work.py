"""A piece of work: a delivery that may run, with what feeder and admission order it by. It decides nothing."""

from dataclasses import dataclass, field

from backburner_schemas.names import Lane
from backburner_worker.policy import JobFacts, Run
from backburner_worker.scheduling.token_estimates import Estimate, RunningEstimate
from backburner_worker.scheduling.weight import weight
from backburner_worker.sources.base import Delivery


def _nothing_known() -> Estimate:
    return Estimate(RunningEstimate(), 0, 0, 1)


@dataclass(slots=True, eq=False)
class Work:
    """Made when a delivery is judged to run; walks from the feeder through admission into a running request."""

    delivery: Delivery
    run: Run
    """The verdict; judged again when the work is taken, since it may have expired while it was held."""
    tokens: int
    """KV tokens that it is expected to take: prompt and answer."""
    prefix: tuple[int, ...] = ()
    """The hashes of its prompt's beginning, as `prefix_chain` returns them."""
    estimate: Estimate = field(default_factory=_nothing_known)
    """What it will take, as far as is known by now; `tokens` is what was known at first."""
    facts: JobFacts | None = None
    """What was known of its job at the verdict."""
    trial: int = 1
    """Of a suspect in the engine, with how many at most it is tried, itself included."""
    weight: int = field(init=False)
    """Bytes that it takes in memory while it is held, roughly."""

    def __post_init__(self) -> None:
        """Weigh it."""
        self.weight = weight(self.delivery.raw, self.run.envelope.body)

    @property
    def lane(self) -> Lane:
        """The lane that it came from."""
        return self.delivery.lane

    @property
    def keeper(self) -> int:
        """Work of one keeper can share a prefix in the engine's cache: of one tenant, for one model or adapter."""
        envelope = self.run.envelope
        body = envelope.body
        return hash((envelope.tenant, body.get("model") if body is not None else None))

    @property
    def suspect(self) -> bool:
        """Whether it runs apart from what is none, since it may have killed an engine."""
        return self.delivery.facts.suspect
