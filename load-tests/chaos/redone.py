"""What a struck worker had begun and what of that was begun again, compared with its bound. From journals alone."""

from dataclasses import dataclass

from chaos.journals import Journals, Mark


@dataclass(frozen=True, slots=True)
class Struck:
    """One worker at the moment of its fault."""

    place: str
    begun: frozenset[str]
    """The ids of all that its engine had begun."""
    moment: Mark
    """How long the journals were when it could begin no more."""
    bound: int | None
    """What it held uncommitted by its own gauge right before, and what it began after; None if it reported nothing."""


def redone(struck: Struck, journals: Journals) -> int:
    """How many of the requests that it had begun were begun again after its fault."""
    return len(struck.begun & set(journals.begun_since(struck.moment)))
