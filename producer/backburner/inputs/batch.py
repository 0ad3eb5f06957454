"""Some requests of an input that follow each other and are ready to be sent: what goes from reading to sending."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backburner.inputs.validation import Accepted
from backburner_schemas.job import Prefix


@dataclass(frozen=True, slots=True)
class Batch:
    """Accepted requests, in order."""

    members: Sequence[bytes]
    """What stands between the braces of each request's JSON object."""
    pools: Sequence[str]
    """The pool of each."""
    data: Callable[[], bytes]
    """Returns the input of the rolling hash: the canonical form of each, with a line's end."""
    end: Prefix | None = None
    """The prefix of the input that ends with these requests, where an earlier reading of the same bytes found it."""

    @classmethod
    def of(cls, accepted: Sequence[Accepted], end: Prefix | None = None) -> "Batch":
        """Lines that were checked one by one."""
        data = joined(accepted)
        return cls([one.members for one in accepted], [one.pool for one in accepted], lambda: data, end)

    @classmethod
    def alike(cls, lines: Sequence[bytes], pool: str, data: Callable[[], bytes], end: Prefix | None = None) -> "Batch":
        """Lines that all go to one pool with their own bytes."""
        return cls([line[1:-1] for line in lines], [pool] * len(lines), data, end)

    def __len__(self) -> int:
        return len(self.members)


def joined(accepted: Sequence[Accepted]) -> bytes:
    """The canonical forms of these lines, each with a line's end."""
    return b"".join([b"%b\n" % one.data for one in accepted])
