"""Some requests of an input that follow each other and are fit to be sent: what goes from reading to sending."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backburner.checks import Accepted
from backburner.sending import Mark


@dataclass(frozen=True, slots=True)
class Portion:
    """Accepted requests, in order."""

    members: Sequence[bytes]
    """What stands between the braces of each request's JSON object."""
    pools: Sequence[str]
    """The pool of each."""
    data: Callable[[], Sequence[bytes]]
    """Makes the form of each that the rolling hash is made of."""
    end: Mark | None = None
    """The prefix of the input that ends with these requests, where an earlier reading of the same bytes found it."""

    @classmethod
    def of(cls, accepted: Sequence[Accepted], end: Mark | None = None) -> "Portion":
        """What was just checked."""
        requests = [one.request for one in accepted]
        return cls(
            members=[one.members for one in requests],
            pools=[one.pool for one in accepted],
            data=lambda: [one.data for one in requests],
            end=end,
        )

    def __len__(self) -> int:
        return len(self.members)

