"""Estimates what requests will cost from past ones: tokens of the prompt and of the answer. Pure, and bounded.

Each job is learned separately and endpoint by endpoint, since the requests of a job are alike. Until it has had
enough of them, what is known of the endpoint and model fills in for it, and before that a guess. Single requests have
no more than that: no other is of the same job.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import Usage
from backburner_worker.scheduling.shared_prefixes import Nodes

MAX_ESTIMATES = 1024
"""Jobs, endpoints and models that are remembered, the least recently seen going first; 600 bytes each."""

_TOKENS_PER_BYTE = 0.25
_ANSWER_TOKENS = 256
"""Guessed until something came back; less where the request asks for less."""
_TRUSTED_AFTER_ANSWERS = 8
"""Answers that weigh as much as what was believed before. The first to come back are the short ones."""
_MEMORY_ANSWERS = 128
"""Answers over which the averages reach, about."""
_ANSWERS_PER_SAMPLE = 4
"""Once so many came, only one in four is looked at, and counts for its endpoint, too."""
_UNLIMITED_TOKENS = 1 << 40
_MAX_MODEL_CHARACTERS = 256
"""A longer name is not a model's, and would let its sender fill the memory."""
_MAX_SEQUENCES = 4096
"""Sequences that one request counts as at most."""
_CHAT, _COMPLETIONS, _RESPONSES = Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES
_GENERATES = frozenset({_CHAT, _COMPLETIONS, _RESPONSES})


class RunningEstimate:
    """Averages over one kind of requests, on top of what is believed of them otherwise."""

    __slots__ = (
        *("_answer", "_believed", "_count", "_prompt", "_size", "_variance"),
        *("answer", "answer_held", "guessed", "tokens_per_byte"),
    )

    def __init__(self, believed: "RunningEstimate | None" = None, answer: float = _ANSWER_TOKENS) -> None:
        """Starts from what is `believed`; with a guess of that many answer tokens if nothing is."""
        self._believed = believed
        self._count = 0
        self._answer = 0.0
        self._variance = 0.0
        self._prompt = 0.0
        self._size = 0.0
        self.guessed: bool = believed.guessed if believed else True
        """Whether no answer has ever come."""
        self.answer: float = believed.answer if believed else answer
        """Tokens of an answer."""
        self.answer_held: float = believed.answer_held if believed else answer
        """KV tokens that answers hold on average, see `Estimate.held`."""
        self.tokens_per_byte: float = believed.tokens_per_byte if believed else _TOKENS_PER_BYTE
        """Tokens of the prompt for each byte of the message."""

    def learn(self, size: int, usage: Usage) -> None:
        """Learn from the answer to a message of `size` bytes, and what it took."""
        believed = self._believed
        if believed is None:
            return
        count = self._count = self._count + 1
        if count > _MEMORY_ANSWERS and count % _ANSWERS_PER_SAMPLE:
            return
        believed.learn(size, usage)
        weight = 1 / min(count, _MEMORY_ANSWERS)
        tokens = usage.completion_tokens
        off = tokens - self._answer
        answer = self._answer = self._answer + weight * off
        variance = self._variance = (1 - weight) * (self._variance + weight * off * off)
        prompt = self._prompt = self._prompt + weight * (usage.prompt_tokens - self._prompt)
        mean_size = self._size = self._size + weight * (size - self._size)
        trust = count / (count + _TRUSTED_AFTER_ANSWERS)
        held = (answer + variance / answer) / 2 if answer > 0 else 0.0
        self.guessed = False
        self.answer = believed.answer + trust * (answer - believed.answer)
        self.answer_held = believed.answer_held + trust * (held - believed.answer_held)
        if mean_size > 0:
            self.tokens_per_byte = believed.tokens_per_byte + trust * (prompt / mean_size - believed.tokens_per_byte)


class Estimate:
    """What one request will take, as far as is known by now: it follows what is learned meanwhile."""

    __slots__ = ("counted_sequences", "counted_tokens", "learned", "most", "nodes", "sequences", "size")

    def __init__(self, learned: RunningEstimate, size: int, most: int, sequences: int) -> None:
        self.learned = learned
        self.size = size
        """Bytes of its message."""
        self.most = most
        """Tokens of its answer at most, as it asks for."""
        self.sequences = sequences
        """Its choices and prompts, which run beside each other."""
        # What admission counts it as, from the check whether it fits until it leaves. Here, since every request has
        # one, and another object would cost as much as all the rest.
        self.counted_sequences = 0
        self.counted_tokens = 0
        self.nodes: Nodes = ()

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answer, all that it will have taken at its end."""
        learned = self.learned
        answer, most = learned.answer, self.most
        return int(self.size * learned.tokens_per_byte + (most if most < answer else answer))  # noqa: FURB136 - is faster

    @property
    def held(self) -> int:
        """KV tokens that it holds, on average over its time in the engine.

        An answer of `a` tokens grows to them over a time that grows with `a` as well, so over many requests it holds
        half of the mean of `a²` over the mean of `a`: half a mean where all are alike, a whole one where they are
        spread exponentially.
        """
        learned, most = self.learned, self.most
        limit = most if learned.guessed else most / 2
        answer = learned.answer_held
        return int(self.size * learned.tokens_per_byte + (limit if limit < answer else answer))  # noqa: FURB136 - is faster

    def prompt_of(self, size: int) -> float:
        """Prompt tokens in so many bytes of the message."""
        return size * self.learned.tokens_per_byte

    def learn(self, usage: Usage) -> None:
        """Learn from its answer, and what it took."""
        self.learned.learn(self.size, usage)


class TokenEstimates:
    """What is known of the requests of each job, and of each endpoint and model."""

    def __init__(self, remembered: int = MAX_ESTIMATES) -> None:
        """Remember so many jobs, endpoints and models in sum."""
        self._remembered = remembered
        self._known: OrderedDict[Hashable, RunningEstimate] = OrderedDict()
        self._guesses = {
            endpoint: RunningEstimate(answer=_ANSWER_TOKENS if endpoint in _GENERATES else 0) for endpoint in Endpoint
        }
        self._last: tuple[str, str, Endpoint, bool] | None = None
        """The key of the last lookup: the next one is mostly the same."""
        self._last_estimate = RunningEstimate()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, envelope: Envelope, size: int) -> Estimate:
        """What to expect of a request whose message has `size` bytes."""
        body, endpoint = envelope.body, envelope.url
        last = self._last
        # The size of a message whose body is stored elsewhere does not show its length: those are learned apart.
        if (
            last is not None
            and last[1] == envelope.job
            and last[0] == envelope.tenant
            and last[2] is endpoint
            and last[3] is (body is None)
        ):
            learned = self._last_estimate
        else:
            learned = self._look_up((envelope.tenant, envelope.job, endpoint, body is None), body)
        if body is None:
            return Estimate(learned, size, _UNLIMITED_TOKENS, 1)
        if endpoint is _CHAT or endpoint is _COMPLETIONS:
            most = _most(body.get("max_completion_tokens") or body.get("max_tokens"))
            if "n" in body or endpoint is _COMPLETIONS:
                sequences = choices_of(body)
                return Estimate(learned, size, most * sequences, sequences)
            return Estimate(learned, size, most, 1)
        if endpoint is _RESPONSES:
            return Estimate(learned, size, _most(body.get("max_output_tokens")), 1)
        return Estimate(learned, size, 0, _inputs(body))

    def _look_up(self, key: tuple[str, str, Endpoint, bool], body: Mapping[str, Any] | None) -> RunningEstimate:
        known = self._known
        learned = known.get(key)
        if learned is None:
            _, job, endpoint, bodiless = key
            model = body.get("model") if body is not None else None
            named = isinstance(model, str) and len(model) <= _MAX_MODEL_CHARACTERS
            kind = (endpoint, model if named else None, bodiless)
            believed = known.get(kind)
            if believed is None:
                believed = known[kind] = RunningEstimate(self._guesses[endpoint])
            known.move_to_end(kind)
            if job.startswith(keys.SINGLE):
                learned = believed
            else:
                learned = known[key] = RunningEstimate(believed)
            while len(known) > self._remembered:
                known.popitem(last=False)
        else:
            known.move_to_end(key)
        self._last, self._last_estimate = key, learned
        return learned


def tokens_asked(limit: Any) -> int | None:
    """Tokens of an answer at most, as a field of a body limits them; None where it says nothing that can be meant.

    The body is not checked yet: a field may hold anything, and more than any float.
    """
    return limit if type(limit) is int and 0 < limit < _UNLIMITED_TOKENS else None


def _most(limit: Any) -> int:
    return tokens_asked(limit) or _UNLIMITED_TOKENS


def choices_of(body: Mapping[str, Any]) -> int:
    """Choices times prompts of a request that generates: the sequences that it takes."""
    choices = body.get("n")
    count = choices if type(choices) is int and choices > 1 else 1
    prompts = body.get("prompt")
    if type(prompts) is list and prompts and type(prompts[0]) is not int:
        count *= len(prompts)
    return min(count, _MAX_SEQUENCES)


def _inputs(body: Mapping[str, Any]) -> int:
    """Texts of an embedding or score request."""
    for name in ("input", "text_2", "documents", "queries", "data_2", "items"):
        several = body.get(name)
        if type(several) is list and several and type(several[0]) is not int:
            return min(len(several), _MAX_SEQUENCES)
    return 1
