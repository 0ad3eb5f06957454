"""Hostile messages beside good ones, in a seeded order. Pure."""

from collections.abc import Callable, Iterator

from fuzz.hostile import HostileMessages
from fuzz.parts import (
    CHAT,
    CLAIMED,
    LARGE_BYTES,
    UNSEALED,
    Good,
    Hostile,
    as_json,
)


class Generator(HostileMessages):
    """Messages from a seed: the same seed, queue and count yield the same bytes.

    Args:
        seed: Of the random numbers.
        text: Whether the queue accepts text alone.
        limit: Bytes that it accepts in one message.
    """

    def __init__(self, seed: int, *, text: bool = False, limit: int = LARGE_BYTES + 1_000_000) -> None:
        super().__init__(seed, limit)
        self._text = text

    def messages(self, count: int) -> Iterator[Hostile]:
        """That many messages, about a third of them good."""
        kinds, weights = zip(*_KINDS, strict=True)
        large = {self.dice.randrange(count) for _ in range(min(10, 1 + count // 10_000))}
        for number in range(count):
            self.number = number
            make = Generator.large if number in large else self.dice.choices(kinds, weights)[0]
            made = make(self)
            yield made if made.good is not None else self._fitted(made)

    def _fitted(self, made: Hostile) -> Hostile:
        if not self._text:
            return made
        text = (made.value or b" ").decode("utf-8", errors="replace")
        legal = "".join(one for one in text if one in "\t\n\r" or ord(one) >= ord(" "))[: self.limit // 4]
        return Hostile(made.kind, (legal.replace("\ufffe", "").replace("\uffff", "") or " ").encode(), made.headers)

    # --- good ones ---

    def line(self) -> Hostile:
        """A plain batch line, whose address the worker derives."""
        custom_id, token, body = self.request()
        line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
        return Hostile("line", as_json(line), good=Good(custom_id, token))

    def envelope(self) -> Hostile:
        """An envelope of a stream, a job with a manifest, or a single request."""
        custom_id, token, body = self.request()
        found = self.envelope_of(custom_id, body=body)
        place = self.dice.choice(("stream", "stream", "stream", "job", "single"))
        if place == "job":
            found |= {"tenant": "default", "job": UNSEALED, "index": self.number + 1}
        elif place == "single":
            found |= {"answer": "object"}
        return Hostile("envelope", as_json(found), good=Good(custom_id, token))

    def junk_headers(self) -> Hostile:
        """A good line with headers that mean nothing, or less."""
        made = self.line()
        return Hostile("junk headers", made.value, self.junk(), made.good)

    def claim(self) -> Hostile:
        """A good envelope whose body is stored."""
        custom_id, _, _ = self.request()
        ref = f"tenants/default/jobs/{CLAIMED}/bodies/0.json"
        found = self.envelope_of(custom_id, body_ref=ref) | {"tenant": "default", "job": CLAIMED}
        return Hostile("claim", as_json(found), good=Good(custom_id, "stored-body"))


_KINDS: tuple[tuple[Callable[[Generator], Hostile], float], ...] = (
    (Generator.line, 12),
    (Generator.envelope, 14),
    (Generator.junk_headers, 4),
    (Generator.claim, 2),
    (Generator.noise, 9),
    (Generator.nothing, 1),
    (Generator.truncated, 9),
    (Generator.mutated, 14),
    (Generator.shapes, 8),
    (Generator.parameters, 5),
    (Generator.numbers, 4),
    (Generator.nested, 2),
    (Generator.doubled, 3),
    (Generator.surrogates, 3),
    (Generator.custom_ids, 5),
    (Generator.addresses, 5),
    (Generator.manifests, 3),
    (Generator.references, 5),
    (Generator.versions, 2),
)
