"""Settings that are lists, as one text each."""

from typing import Annotated

from pydantic_settings import NoDecode

CommaSeparated = Annotated[str, NoDecode]
"""A list as one text, `a,b,c`; empty for none."""


def split(text: str) -> frozenset[str]:
    """The parts of a comma-separated setting."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())
