"""A table of docs/kafka.md that tests make: each row is one thing that they have seen.

BACKBURNER_TEST_UPDATE_GOLDEN=1 writes the table anew instead of comparing.
"""

import os
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "kafka.md"
UPDATE = os.environ.get("BACKBURNER_TEST_UPDATE_GOLDEN") == "1"
WORKS = "nothing: it works"


class PageTable:
    """One table, between two comments of the page. A context manager, around all the tests that make it."""

    def __init__(self, name: str, head: tuple[str, ...], rows: int) -> None:
        self._name = name
        self._head = head
        self._count = rows
        self._seen: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if UPDATE and len(self._seen) == self._count:
            before, _, after = self._parts()
            table = "\n".join([_row(self._head), _row(["---"] * len(self._head)), *self._seen])
            PAGE.write_text(f"{before}\n{table}\n{after}")

    def add(self, *cells: str) -> None:
        """A row that was seen: the page has to have it."""
        self._seen.append(_row(cells))
        if not UPDATE:
            table = self._parts()[1].strip().splitlines()
            assert self._seen[-1] in table, "review the change, then set BACKBURNER_TEST_UPDATE_GOLDEN=1"
            assert len(table) == self._count + 2, "the page has rows that no test sees"

    def _parts(self) -> tuple[str, str, str]:
        begin, end = (f"<!-- {word} {self._name}: made by tests/kafka -->" for word in ("begin", "end"))
        before, _, rest = PAGE.read_text().partition(begin)
        table, _, after = rest.partition(end)
        return before + begin, table, end + after


def shown(message: str) -> str:
    """An error's message as the page has it: ports and the test's names are of no interest."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", message)


def _row(cells) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
