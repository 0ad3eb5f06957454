"""Whether an input is the one that a job was made from: a rolling hash, compared with what was stored before."""

from collections.abc import Callable, Collection
from hashlib import sha256

from backburner_schemas.errors import JobConflict
from backburner_schemas.job import Prefix


class Fingerprint:
    """The accepted lines of an input, one after the other.

    Raises the conflict where the hash over them differs from an expected one, or the input ends before it.
    """

    def __init__(self, conflict: Callable[[], JobConflict]) -> None:
        self._conflict = conflict
        self._hash = sha256()
        self._expected: dict[int, str] = {}
        self._proven_from = 0
        self._known = ""
        self.count = 0
        """Lines taken so far."""

    @property
    def prefix(self) -> Prefix:
        """The prefix so far."""
        return Prefix(self.count, self._known or self._hash.hexdigest())

    @property
    def proven(self) -> bool:
        """Whether enough was seen to be sure that this is the job's input."""
        return self.count >= self._proven_from

    def expect(self, prefix: Prefix | None, *, as_proof: bool = False) -> None:
        """The input must begin so; `as_proof`: nothing is proven before that was seen."""
        if prefix is None or prefix.count == 0:
            return
        if self._expected.setdefault(prefix.count, prefix.sha256) != prefix.sha256:
            raise self._conflict()
        if as_proof:
            self._proven_from = prefix.count

    def take(self, data: bytes) -> None:
        """Take one more line, in its canonical form."""
        self._hash.update(data)
        self._hash.update(b"\n")
        self.count += 1
        self._check(self.count, self._hash.hexdigest)

    def take_all(self, data: bytes, count: int) -> None:
        """Take so many lines, one after the other, each with its line's end."""
        last = self.count + count
        if any(self.count < expected < last for expected in self._expected):
            for line in data.splitlines():
                self.take(line)
        elif count:
            self._hash.update(data)
            self.count = last
            self._check(last, self._hash.hexdigest)

    def skip(self, end: Prefix) -> None:
        """Take the lines up to there, whose hash is known. Nothing may be expected before, and no line taken after."""
        self.count = end.count
        self._known = end.sha256
        self._check(end.count, lambda: end.sha256)

    def _check(self, count: int, found: Callable[[], str]) -> None:
        expected = self._expected.pop(count, None)
        if expected is not None and expected != found():
            raise self._conflict()

    @property
    def expected(self) -> Collection[int]:
        """After how many lines a hash is still expected."""
        return self._expected.keys()

    def end(self) -> None:
        """The input is over."""
        if self._expected:
            raise self._conflict()
