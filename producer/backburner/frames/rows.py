"""What has rows: a DataFrame of any library that narwhals knows, or dicts. One way to read both."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from backburner.inputs.findings import InvalidInput
from backburner_schemas.errors import SettingsError

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

Row = Mapping[str, Any]
RowsT = TypeVar("RowsT", bound="IntoDataFrame | Iterable[Mapping[str, Any]]")

_MISSING_TYPES = frozenset({"NAType", "NaTType"})
"""pandas' own signs for a missing value, by the names of their types, so that pandas need not be there."""
_MAX_SHOWN_COUNT = 12


class Rows:
    """Rows that can be read again and again, in one order."""

    def __init__(self, rows: "IntoDataFrame | Iterable[Row]") -> None:
        """Raises `InvalidInput` for what has no rows, and `SettingsError` where narwhals is not installed."""
        self.frame = None if _are_mappings(rows) else _frame_of(rows)
        self._rows: Sequence[Row] = () if self.frame is not None else _listed(rows)
        self.columns: Sequence[str] = (
            list(dict.fromkeys(name for row in self._rows for name in row))
            if self.frame is None
            else list(self.frame.columns)
        )
        """Their names; of dicts all that any of them has."""

    def __len__(self) -> int:
        return len(self._rows) if self.frame is None else len(self.frame)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows) if self.frame is None else self.frame.iter_rows(named=True)

    def check_column(self, name: str, what: str, remedy: str) -> None:
        """Raise `InvalidInput` unless there is such a column. `what` names it."""
        if len(self) and name not in self.columns:
            shown = ", ".join(map(str, self.columns[:_MAX_SHOWN_COUNT]))
            raise InvalidInput(f"{what} names the column {name!r}, and the rows have {shown or 'none'}; {remedy}")


def narwhals() -> ModuleType:
    """The library that knows DataFrames. Raises `SettingsError` where it is not installed."""
    try:
        import narwhals as found
    except ModuleNotFoundError as error:
        raise SettingsError(
            "DataFrames need one more library; run `pip install 'backburner[pandas]'`, or `'backburner[polars]'`"
        ) from error
    return found


def is_missing(value: object) -> bool:
    """Whether a row has no value here: None, NaN, pandas' NA and NaT."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        # numpy's numbers too, whatever their bits.
        return bool(value != value)  # noqa: PLR0124 - a fraction may be beyond any float
    return value is None or type(value).__name__ in _MISSING_TYPES


def _are_mappings(rows: object) -> bool:
    return (
        not hasattr(type(rows), "columns")
        and isinstance(rows, Iterable)
        and not isinstance(rows, (str, bytes, Mapping))
    )


def _listed(rows: Any) -> Sequence[Row]:
    listed: Sequence[Any] = rows if isinstance(rows, Sequence) else list(rows)
    for number, row in enumerate(listed):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"row {number} is a {type(row).__name__}; pass a DataFrame, or a list of dicts")
    return listed


def _frame_of(rows: Any) -> Any:
    try:
        return narwhals().from_native(rows, eager_only=True)
    except TypeError as error:
        raise InvalidInput(
            f"a {type(rows).__name__} has no rows to read; pass a DataFrame of pandas, polars or pyarrow (a lazy one "
            "collected), or a list of dicts"
        ) from error
