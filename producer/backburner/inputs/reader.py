"""One reading of an input, into batches that are ready to be sent. Files and iterables have a reader each."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

from backburner.inputs.batch import Batch
from backburner.inputs.findings import MAX_KEPT_SKIPPED_LINES, Findings, InvalidInput
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.validation import Checker
from backburner_schemas.job import Prefix


class InputReader(ABC):
    """Reads an input: `survey` first, then `batches`, each once. Close it, to remove what it keeps on disk."""

    def __init__(self, checker: Checker, *, skip_invalid: bool, refuse: Callable[[], Awaitable[None]]) -> None:
        """`refuse` is called before an input of which a part was yielded is reported as invalid."""
        self._checker = checker
        self._skip_invalid = skip_invalid
        self._refuse = refuse
        self.findings = Findings(MAX_KEPT_SKIPPED_LINES)
        """What is wrong with the lines that are left out."""
        self.checked = 0
        """Lines of a file that were read so far, or items."""

    @abstractmethod
    async def survey(self, fingerprint: Fingerprint, report: Callable[[], None]) -> Prefix | None:
        """What `batches` will yield, where the input can be read twice; None where it cannot.

        The fingerprint takes what is accepted, and `report` is called now and then. Raises `InvalidInput` with all
        that is wrong with the input.
        """

    @abstractmethod
    def batches(self) -> AsyncGenerator[Batch]:
        """The accepted requests, in order. Raises `InvalidInput`, unless what is invalid is skipped."""

    @abstractmethod
    def ends_at(self, counts: Collection[int]) -> bool:
        """Whether a batch is known to end with each of these numbers of requests."""

    def empty(self) -> InvalidInput:
        """The error for an input without requests."""
        if self.findings.total:
            return InvalidInput.of(self.findings, accepted=0)
        return InvalidInput("the input holds no request; it needs at least one line")

    def close(self) -> None:  # noqa: B027 - not every reader keeps something
        """Remove what is kept on disk."""

    async def _turn_down(self, error: InvalidInput) -> InvalidInput:
        """The error, to be raised: what was yielded before ends the same way, since its job is cancelled."""
        await self._refuse()
        return error
