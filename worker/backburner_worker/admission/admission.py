"""How much goes into the engine at once: enough that its queue is never empty, not so much that it grows. Pure.

A request takes places in the batch and KV tokens. Both are bounded, and the governor moves the bounds with what the
engine reports. What a request will take is estimated from what came back of others like it.
"""

from backburner_schemas.envelope import Envelope
from backburner_schemas.prefix import BLOCK_CHARACTERS
from backburner_worker.admission.governor import Bound, Governor
from backburner_worker.engine.base import EngineInfo, EngineLoad
from backburner_worker.scheduling.shared_prefixes import MIN_BLOCKS, Prefixes, blocks_of, nodes_of
from backburner_worker.scheduling.token_estimates import Estimate, TokenEstimates
from backburner_worker.scheduling.work import Work


class Admission:
    """The capacity of the engine, and what of it is taken. One request always fits an empty engine, however large.

    An engine that limits itself, and takes none for now, gets none.
    """

    def __init__(self, info: EngineInfo, concurrency: int = 0) -> None:
        """Limits follow what the engine offers and reports; a `concurrency` above 0 is a fixed limit of requests.

        An engine that limits itself is followed by `allow`.
        """
        self._fixed = concurrency
        self._requests: int | None = concurrency or None
        """The limit of requests, where it is not the governor's of sequences and tokens."""
        self._governor = Governor(info)
        self._estimates = TokenEstimates()
        self._prefixes = Prefixes()
        self.in_flight = 0
        """Requests that are in the engine. Others only read."""
        self._sequences = 0
        self._own_tokens = 0
        """KV tokens without the shared prefixes, which are counted once."""
        self._ended = 0
        self._short: Bound | None = None
        """The limit that left no room for what was to enter last; None since something entered."""
        self._met: Bound | None = None
        """The limit that was met last since the engine was looked at."""
        self._load = EngineLoad()

    @property
    def sequences(self) -> int:
        """Their sequences in sum; one a request where requests are bounded."""
        return self._sequences

    @property
    def tokens(self) -> int:
        """KV tokens that the requests in the engine are expected to hold."""
        return self._own_tokens + self._prefixes.tokens

    @property
    def sequence_limit(self) -> int:
        """How many sequences may be in the engine now."""
        return self._governor.sequences if self._requests is None else self._requests

    @property
    def token_limit(self) -> int:
        """How many KV tokens the requests in the engine may be expected to hold now; 0 for any number."""
        return self._governor.tokens if self._requests is None else 0

    @property
    def load(self) -> EngineLoad:
        """What the engine reported last."""
        return self._load

    @property
    def open(self) -> bool:
        """Whether another request may be considered at all."""
        if self._requests is not None:
            return self.in_flight < self._requests
        return self._sequences < self._governor.sequences

    def estimate(self, envelope: Envelope, size: int) -> Estimate:
        """The expected cost of a request whose message has `size` bytes."""
        return self._estimates.of(envelope, size)

    def fits(self, work: Work) -> bool:
        """Whether there is room for it now."""
        estimate = work.estimate
        if self._requests is not None:
            estimate.counted_sequences = 1
            return self.open
        governor = self._governor
        room = governor.tokens
        tokens = estimate.held
        sequences = estimate.sequences
        # One that asks for more than there is counts as half of all, so that it does not keep all others out.
        estimate.counted_sequences = 1 if sequences == 1 else max(1, min(sequences, governor.sequences // 2))
        estimate.counted_tokens = own = min(tokens, room // 2)
        estimate.nodes = ()
        if len(work.prefix) >= MIN_BLOCKS and own == tokens:
            own = self._share_prefix(work, estimate)
        if not self.in_flight:
            return True
        if self._sequences + estimate.counted_sequences > governor.sequences:
            # Before the limit is reached, where the next is of several sequences.
            self._short = self._met = Bound.SEQUENCES
            return False
        if self._own_tokens + self._prefixes.tokens + own <= room:
            return True
        self._short = self._met = Bound.TOKENS
        return False

    def enter(self, work: Work) -> bool:
        """Reserve its capacity, if there is enough; whether there was."""
        if not self.fits(work):
            return False
        estimate = work.estimate
        self.in_flight += 1
        self._sequences += estimate.counted_sequences
        self._own_tokens += estimate.counted_tokens
        self._short = None
        if self._sequences >= self._governor.sequences:
            self._met = Bound.SEQUENCES
        if estimate.nodes:
            self._prefixes.enter(estimate.nodes, estimate.prompt_of(BLOCK_CHARACTERS))
        return True

    def leave(self, work: Work) -> None:
        """Free the capacity that it took."""
        estimate = work.estimate
        self.in_flight -= 1
        self._sequences -= estimate.counted_sequences
        self._own_tokens -= estimate.counted_tokens
        self._ended += 1
        if estimate.nodes:
            self._prefixes.leave(estimate.nodes)

    def allow(self, requests: int) -> bool:
        """The engine, which limits itself, takes so many requests at once now. Returns whether there is more room."""
        before, self._requests = self._requests, min(requests, self._fixed or requests)
        return before is None or self._requests > before

    def observe(self, load: EngineLoad, now: float) -> bool:
        """Move the limits by the engine's load at monotonic second `now`. Returns whether there may be more room."""
        self._load = load
        if self._requests is not None:
            return False
        # Between two reports requests may have left and others come: what counts is that a limit was reached.
        bound, self._met = self._met, None
        if self._sequences >= self._governor.sequences:
            bound = Bound.SEQUENCES
        elif self._short is not None:
            bound = self._short
        return self._governor.observe(load, bound, now, ended=self._ended, inside=self._sequences, tokens=self.tokens)

    def _share_prefix(self, work: Work, estimate: Estimate) -> int:
        """Count its prefix once for all that share it. Returns the tokens that it adds to those in the engine."""
        nodes = estimate.nodes = nodes_of(work.prefix, work.keeper)
        block = estimate.prompt_of(BLOCK_CHARACTERS)
        blocks = blocks_of(nodes)
        own = estimate.counted_tokens = max(0, estimate.counted_tokens - int(blocks * block))
        return own + int((blocks - self._prefixes.shared(nodes)) * block)
