"""docs/python.md is made of docstrings: what has none, or no place on the page, ends its making with a word of it."""

import sys
from pathlib import Path

import pytest

import backburner

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield
    for name in ("class_source", "python_reference"):
        sys.modules.pop(name, None)


class Documented:
    """A class."""

    def __init__(self, size: int, *, name: str = "x") -> None:
        """Raises nothing."""
        self.size = size
        """In bytes."""
        self._name = name

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    async def read(self, *, timeout: float | None = None) -> bytes:
        """Returns what is there."""
        return b"" if timeout else b"x"

    def _own(self) -> None:
        pass


class WithoutMethodText:
    """A class."""

    def read(self):
        return None


class WithoutFieldText:
    """A class."""

    def __init__(self) -> None:
        self.size = 1


def test_attributes_and_methods_are_taken_from_the_source():
    from class_source import ClassSource

    found = ClassSource.of(Documented, constructed=True)
    assert found.constructor == "Documented(size: int, *, name: str = 'x')"
    assert found.fields == {"size: int": "In bytes.", "name: str": "What it is called."}
    assert found.methods == {
        "read": (["async def read(*, timeout: float | None = None) -> bytes"], "Returns what is there.")
    }


@pytest.mark.parametrize(
    ("kind", "named"), [(WithoutMethodText, "WithoutMethodText.read"), (WithoutFieldText, "WithoutFieldText.size")]
)
def test_what_has_no_docstring_is_named(kind, named):
    from class_source import ClassSource

    with pytest.raises(SystemExit, match=rf"{named} has no docstring"):
        ClassSource.of(kind)


def test_a_public_name_that_is_in_no_section_is_named(monkeypatch):
    from python_reference import python_page

    monkeypatch.setattr(backburner, "__all__", [*backburner.__all__, "Documented"])
    monkeypatch.setattr(backburner, "Documented", Documented, raising=False)
    with pytest.raises(SystemExit, match="Documented"):
        python_page("")
