"""Columns of records: what became of each request, as a DataFrame of its own or joined to the rows that were asked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from backburner.frames.row_requests import custom_ids_of
from backburner.frames.rows import Row, Rows, narwhals
from backburner.inputs.findings import InvalidInput
from backburner_schemas.result import ResultRecord

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame, IntoDataFrameT
else:
    IntoDataFrameT = TypeVar("IntoDataFrameT")

_TEXTS = ("custom_id", "text", "error", "error_message", "finish_reason", "model")
_NUMBERS = ("input_tokens", "output_tokens")
_KEY = "custom_id"
_EMBEDDING = "embedding"
_MAX_COUNT = 2**63 - 1
"""The largest number that a column of integers holds."""


@overload
def to_frame(
    records: Iterable[ResultRecord],
    rows: "IntoDataFrameT",
    *,
    custom_id: str | None = None,
    prefix: str = "",
    library: str = "pandas",
) -> "IntoDataFrameT": ...
@overload
def to_frame(
    records: Iterable[ResultRecord],
    rows: Iterable[Row] | None = None,
    *,
    custom_id: str | None = None,
    prefix: str = "",
    library: str = "pandas",
) -> Any: ...
def to_frame(
    records: Iterable[ResultRecord],
    rows: "IntoDataFrame | Iterable[Row] | None" = None,
    *,
    custom_id: str | None = None,
    prefix: str = "",
    library: str = "pandas",
) -> Any:
    """Make a DataFrame of records, such as `job.results()` yields.

    Its columns are `text`, `error` (a code, empty for an answer) and `error_message`, `finish_reason`, `model`,
    `input_tokens` and `output_tokens`, and `embedding` where there are any. Without `rows` it has a row for each
    record, with its `custom_id`, in their order. With `rows`, the ones that `to_requests` got, it has these rows, in
    their order and with their index, and the answers beside them; `custom_id` names the same column as there. A row
    whose record is not there yet has empty columns. `prefix` is put before the new columns' names.

    Returns a DataFrame of the same library as `rows`, or of `library`: `pandas`, `polars` or `pyarrow`. Raises
    `InvalidInput` where rows have a column of that name already.

        from backburner.frames import to_frame

        answers = to_frame([record async for record in job.results()])
        print(answers[["custom_id", "text"]])
    """
    if rows is not None:
        table = Rows(rows)
        check_columns(table, prefix)
        return joined(table, records, custom_id=custom_id, prefix=prefix, library=library)
    return narwhals().from_dict(_columns([*map(_answer_of, records)], prefix), backend=library).to_native()


def check_columns(rows: Rows, prefix: str) -> None:
    """Raise `InvalidInput` where the rows have a column that an answer's would replace."""
    new = {prefix + name for name in (*_TEXTS, *_NUMBERS, _EMBEDDING) if name != _KEY}
    if taken := sorted(new & {*rows.columns}):
        raise InvalidInput(f"the rows have a column {taken[0]!r} already; pass prefix='answer_', or rename it")


def joined(
    rows: Rows,
    records: Iterable[ResultRecord],
    *,
    custom_id: str | None,
    prefix: str,
    library: str = "pandas",
    numbered: bool = False,
) -> Any:
    """The rows with their answers, as `to_frame` returns them.

    `numbered`: the records' indexes are those of the rows, which tells whose a record without a custom_id is: that of
    a request that was cut off.
    """
    identities = custom_ids_of(rows, custom_id)
    by_id: dict[str | None, Mapping[str, Any]] = {}
    for record in records:
        identity, index = record.custom_id, record.backburner.index
        if identity is None and numbered and isinstance(index, int) and index < len(identities):
            identity = identities[index]
        by_id[identity] = _answer_of(record)
    answers = _columns([by_id.get(identity, {}) for identity in identities], prefix)
    del answers[prefix + _KEY]
    frames = narwhals()
    if rows.frame is None:
        own = {name: [row.get(name) for row in rows] for name in rows.columns}
        return frames.from_dict({**own, **answers}, backend=library).to_native()
    texts, backend = {prefix + name for name in _TEXTS}, rows.frame.implementation
    new = (
        frames.new_series(name, values, frames.String if name in texts else None, backend=backend)
        for name, values in answers.items()
    )
    return rows.frame.with_columns(*new).to_native()


def _answer_of(record: ResultRecord) -> Mapping[str, Any]:
    """A record's columns; those that say nothing of it are left out."""
    body = record.response.body if record.response is not None else {}
    usage, choice = _dict(body.get("usage")), _dict(_first(body.get("choices")))
    found = {
        _KEY: record.custom_id,
        "text": record.text if record.ok else None,
        "error": record.error.code if record.error is not None else None,
        "error_message": record.error.message if record.error is not None else None,
        "finish_reason": _text(choice.get("finish_reason")),
        "model": _text(body.get("model")),
        "input_tokens": _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        "output_tokens": _count(usage.get("completion_tokens", usage.get("output_tokens"))),
        _EMBEDDING: _vector(_dict(_first(body.get("data"))).get(_EMBEDDING)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _columns(answers: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, list[Any]]:
    columns = {name: [answer.get(name) for answer in answers] for name in (*_TEXTS, *_NUMBERS)}
    if any(_EMBEDDING in answer for answer in answers):
        columns[_EMBEDDING] = _of_one_shape([answer.get(_EMBEDDING) for answer in answers])
    return {prefix + name: values for name, values in columns.items()}


# A column has one type, whatever single answers hold.


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _vector(value: object) -> list[Any] | str | None:
    """The embedding, one vector or one for each token, with floats alone: an engine may write 0 for 0.0.

    One in base64 stays as it is.
    """
    if not isinstance(value, list):
        return _text(value)
    if value and all(isinstance(one, list) for one in value):
        return [[_number(number) for number in one] for one in value]
    return [_number(number) for number in value]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _MAX_COUNT) else None


def _of_one_shape(embeddings: list[Any]) -> list[Any]:
    """The embeddings that are of the first one's shape, and nothing in place of the others."""
    shapes = [None if one is None else _shape(one) for one in embeddings]
    first = next((shape for shape in shapes if shape is not None), None)
    return [one if shape == first else None for one, shape in zip(embeddings, shapes, strict=True)]


def _shape(embedding: list[Any] | str) -> str:
    if isinstance(embedding, str):
        return "base64"
    return "vectors" if embedding and isinstance(embedding[0], list) else "vector"


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
