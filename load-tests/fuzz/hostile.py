"""Messages that a broken or malicious producer can put onto a queue, by kind. Pure, from a seed."""

import json
from typing import Any

from fuzz.parts import (
    BAIT,
    CLAIMED,
    LARGE_BYTES,
    NASTY,
    NUMBERS,
    SEALED,
    TOTAL_REQUESTS,
    UNSEALED,
    Hostile,
    Parts,
    as_json,
)


class HostileMessages(Parts):
    """One method a kind."""

    def noise(self) -> Hostile:
        """Random bytes."""
        return Hostile("random bytes", self.dice.randbytes(self.dice.choice((1, 8, 100, 2000))))

    def nothing(self) -> Hostile:
        """No value, or an empty one."""
        return Hostile("empty", self.dice.choice((None, b"", b" ", b"\n")))

    def truncated(self) -> Hostile:
        """A good message cut off."""
        value = self.whole()
        return Hostile("truncated", value[: self.dice.randrange(len(value))])

    def mutated(self) -> Hostile:
        """A good message with some of its bytes changed, taken out or doubled."""
        value = bytearray(self.whole())
        for _ in range(self.dice.choice((1, 1, 2, 8))):
            at = self.dice.randrange(len(value))
            change = self.dice.randrange(4)
            if change == 0:
                value[at] ^= 1 << self.dice.randrange(8)
            elif change == 1:
                del value[at : at + self.dice.randrange(1, 9)]
            elif change == 2:  # noqa: PLR2004
                value[at:at] = value[at : at + 12]
            else:
                value[at : at + 1] = self.dice.choice((b'"', b"{", b"}", b"\\", b"\x00", b"\xff", b"null", b"-1"))
            if not value:
                break
        return Hostile("mutated", bytes(value))

    def shapes(self) -> Hostile:
        """Valid JSON of the wrong shape."""
        wrong = self.wrong()
        if self.dice.random() < 0.2:  # noqa: PLR2004
            return Hostile("wrong shape", as_json(wrong))
        found = json.loads(self.whole())
        found[self.dice.choice(tuple(found))] = wrong
        return Hostile("wrong shape", as_json(found))

    def parameters(self) -> Hostile:
        """Parameters of the engine with values that nobody should use."""
        _, _, body = self.request()
        name = self.dice.choice(
            (
                "n",
                "max_tokens",
                "temperature",
                "top_p",
                "stop",
                "logprobs",
                "seed",
                "messages",
                "model",
                "stream",
                "tools",
            )
        )
        huge = self.dice.choice((10**9, 2**63, -1, 1e308, "9" * 1000, True))
        body[name] = self.dice.choice((huge, self.wrong(), [huge] * 3))
        return Hostile("parameters", as_json(self.envelope_of(self.new_id(), body=body)))

    def numbers(self) -> Hostile:
        """Numbers that JSON does not have, or that no float holds."""
        whole = self.whole().decode()
        return Hostile(
            "numbers", whole.replace('"temperature": 0', f'"temperature": {self.dice.choice(NUMBERS)}').encode()
        )

    def nested(self) -> Hostile:
        """Arrays and objects far too deep."""
        depth = self.dice.choice((50, 150, 190, 250, 1000, 20_000))
        inner = self.dice.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
        return Hostile("nested", self.whole().decode().replace('"temperature": 0', f'"temperature": {inner}').encode())

    def doubled(self) -> Hostile:
        """One key twice, with other values."""
        whole = self.whole()
        name = self.dice.choice(("custom_id", "tenant", "job", "index", "url", "v", "body"))
        other = json.dumps(self.dice.choice((self.wrong(), self.dice.choice(NASTY))))
        return Hostile("doubled keys", whole[:-1] + f', "{name}": {other}}}'.encode())

    def surrogates(self) -> Hostile:
        """Half characters, escaped and as bytes."""
        half = self.dice.choice(
            (b"\\ud800", b"\\udfff", b"\\ud800\\ud800", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80")
        )
        return Hostile(
            "half characters", self.whole().replace(b"say", half, 1).replace(b"c-", half, self.dice.choice((0, 1)))
        )

    def custom_ids(self) -> Hostile:
        """custom_ids that want to be a path, a command or a novel."""
        custom_id = self.dice.choice((*NASTY, *NASTY, "x" * 65_536, "é" * 512, "%" * 512))
        _, _, body = self.request()
        found = self.envelope_of(custom_id, body=body) | {"answer": self.dice.choice(("object", "segment"))}
        return Hostile("custom_ids", as_json(found))

    def addresses(self) -> Hostile:
        """Tenants, jobs and indexes that want to be somewhere else."""
        custom_id, _, body = self.request()
        found = self.envelope_of(custom_id, body=body)
        wrong: Any = self.dice.choice((*NASTY, "stranger", -1, 2**53, 2**64, 1.5, True, None, [], {}))
        found[self.dice.choice(("tenant", "job", "index"))] = wrong
        return Hostile("addresses", as_json(found))

    def manifests(self) -> Hostile:
        """Indexes that a job with a manifest does not have."""
        custom_id, _, body = self.request()
        place = self.dice.choice(
            ((UNSEALED, f"s{self.number}"), (SEALED, f"s{self.number}"), (SEALED, TOTAL_REQUESTS + self.number))
        )
        found = self.envelope_of(custom_id, body=body) | {"tenant": "default", "job": place[0], "index": place[1]}
        return Hostile("no such index", as_json(found))

    def references(self) -> Hostile:
        """References to bodies of others, of nobody, and to what is not a body."""
        tenant, job, index = BAIT
        ref = self.dice.choice(
            (
                f"tenants/{tenant}/jobs/{job}/bodies/{index}.json",
                f"tenants/default/jobs/{CLAIMED}/bodies/../../../../{tenant}/jobs/{job}/bodies/{index}.json",
                f"tenants/default/jobs/{CLAIMED}/bodies/nowhere.json",
                f"tenants/default/jobs/{CLAIMED}/bodies/1.json",
                f"tenants/default/jobs/{CLAIMED}/bodies/",
                f"tenants/default/jobs/{UNSEALED}/job.json",
                "pools/fake.json",
                "/etc/passwd",
                "",
                *NASTY,
            )
        )
        found = self.envelope_of(self.new_id(), body_ref=ref) | {"tenant": "default", "job": CLAIMED}
        return Hostile("references", as_json(found))

    def versions(self) -> Hostile:
        """Envelopes of other versions."""
        custom_id, _, body = self.request()
        found = self.envelope_of(custom_id, body=body) | {
            "v": self.dice.choice((2, 99, 10**30, -1, "1", 1.0, None, True))
        }
        return Hostile("versions", as_json(found))

    def large(self) -> Hostile:
        """A body far over the limit."""
        _, _, body = self.request()
        body["messages"][0]["content"] += "x" * min(LARGE_BYTES, self.limit - 4096)
        return Hostile("large", as_json(self.envelope_of(self.new_id(), body=body)))
