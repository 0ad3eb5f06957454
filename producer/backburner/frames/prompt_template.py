"""A prompt with columns' names in braces, filled from rows. Nothing of a value is looked at but its text."""

from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from backburner.frames.rows import Row, Rows, is_missing
from backburner.inputs.findings import InvalidInput

_BRACES = "write braces that are text twice: {{ and }}"
_CONVERSIONS: Mapping[str | None, Callable[[Any], Any]] = {None: lambda value: value, "s": str, "r": repr, "a": ascii}


class MissingValue(InvalidInput):
    """A row has no value for a column that the prompt names; fill it, or drop the row."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column


class PromptTemplate:
    """A text such as `Translate {word} into {language}.`; `{price:.2f}` formats, `{{` and `}}` are braces."""

    def __init__(self, text: str, what: str = "the prompt") -> None:
        """Raises `InvalidInput` for braces that name no column."""
        self._what = what
        try:
            self._parts = list(Formatter().parse(text))
        except ValueError as error:
            raise self._refused(str(error)) from error
        for _, column, _, _ in self._parts:
            if column is not None and (not column or column.isdigit()):
                raise self._refused(f"{{{column}}} names no column")

    @property
    def columns(self) -> set[str]:
        """The columns that it names."""
        return {column for _, column, _, _ in self._parts if column}

    def check(self, rows: Rows) -> None:
        """Raise `InvalidInput` where the rows lack a column."""
        for column in sorted(self.columns):
            rows.check_column(column, self._what, f"name one of them, and {_BRACES}")

    def __call__(self, row: Row) -> str:
        """The row's text. Raises `MissingValue`, and `InvalidInput` for a value that cannot be formatted so."""
        texts: list[str] = []
        for literal, column, spec, conversion in self._parts:
            texts.append(literal)
            if column is None:
                continue
            value = row.get(column)
            if is_missing(value):
                raise MissingValue(column)
            try:
                texts.append(format(_CONVERSIONS[conversion](value), spec or ""))
            except (KeyError, TypeError, ValueError) as error:
                raise self._refused(f"{column}: {error}") from error
        return "".join(texts)

    def _refused(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"{self._what} cannot be filled ({why}); put columns' names in braces, as in {{review}}, and {_BRACES}"
        )
