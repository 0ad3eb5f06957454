"""How to go on with what a call has begun, for whoever breaks it off, which may be a thread that only waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from backburner_schemas.errors import BackburnerError

_begun: ContextVar[list[str] | None] = ContextVar("begun", default=None)


def collect_remedies(into: list[str]) -> None:
    """Keep in the list, from now on, the remedies of what this task has begun and not ended."""
    _begun.set(into)


@contextmanager
def noting(remedy: str) -> Iterator[None]:
    """Whatever breaks the block off has the remedy as a note; Backburner's own errors tell theirs themselves."""
    begun = _begun.get()
    if begun is not None:
        begun.append(remedy)
    try:
        yield
    except BackburnerError:
        raise
    except BaseException as error:
        # Of a cancel and of Ctrl-C too: nothing else would tell an id that the caller did not choose.
        error.add_note(remedy)
        raise
    if begun is not None:
        # What was broken off stays: whoever waits for it may hear of no more than the cancel.
        begun.remove(remedy)
