"""Requests of rows and a prompt: one a row, and all of them checked before the first is sent."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backburner.frames.prompt_template import MissingValue, PromptTemplate
from backburner.frames.rows import Row, Rows, is_missing
from backburner.inputs.findings import InvalidInput
from backburner.submission.single import body_of, check_names, endpoint_of
from backburner_schemas.request import Endpoint, EndpointUrl

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

Messages = Sequence[Mapping[str, Any]]
Prompt = str | Callable[[Row], str | Messages]
"""A template, such as `Translate {word}.`, or a function of a row that returns a text or messages."""

OWN_NAMES = ("rows", "prompt", "custom_id", "system", "model", "endpoint", "extra_body")


class RowRequests:
    """One request a row, in the rows' order. It can be submitted, and read again, as often as is wanted."""

    def __init__(
        self,
        rows: Rows,
        custom_ids: Sequence[str],
        line: Callable[[str, Row], dict[str, Any]],
    ) -> None:
        self._rows = rows
        self._line = line
        self.custom_ids = custom_ids
        """The custom_id of each row."""

    def __len__(self) -> int:
        return len(self.custom_ids)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Lines of a batch file, as dicts."""
        for custom_id, row in zip(self.custom_ids, self._rows, strict=True):
            yield self._line(custom_id, row)

    def __repr__(self) -> str:
        return f"RowRequests({len(self):,} rows)"


def to_requests(
    rows: "IntoDataFrame | Iterable[Row]",
    prompt: Prompt,
    *,
    custom_id: str | None = None,
    system: str | None = None,
    model: str | None = None,
    endpoint: EndpointUrl = Endpoint.CHAT,
    extra_body: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> RowRequests:
    """Make a request of each row, for `Client.submit`.

    `rows` is a DataFrame of pandas, polars or pyarrow, or dicts. `prompt` is a template with columns' names in braces,
    or a function of a row, as a dict, that returns a text or messages. `system` is the text of a system message, a
    template as well. `custom_id` names the column that tells rows apart; without it they are `row-0`, `row-1` and so
    on. Other named arguments, such as `max_tokens`, go into each body, if its endpoint has such a field; what your
    operator allows beside goes into `extra_body`. Without a model, `submit` has to be given one.

    Returns the requests. Raises `InvalidInput` for a column that is not there, for rows without a value for a column
    that the prompt names, and for a custom_id that comes twice; `UnsupportedParameter` for an argument that is none.

        from backburner.frames import to_requests

        words = [{"word": "cat"}, {"word": "dog"}]
        job = await client.submit(to_requests(words, "Translate {word} into French.", model="fake", max_tokens=8))
    """
    return requests_of(
        Rows(rows),
        prompt,
        custom_id=custom_id,
        system=system,
        model=model,
        endpoint=endpoint,
        extra_body=extra_body,
        parameters=parameters,
    )


def requests_of(
    table: Rows,
    prompt: Prompt,
    *,
    custom_id: str | None,
    system: str | None,
    model: str | None,
    endpoint: EndpointUrl,
    extra_body: Mapping[str, Any] | None,
    parameters: Mapping[str, Any],
    own_names: Collection[str] = OWN_NAMES,
) -> RowRequests:
    """See `to_requests`. `own_names` are the caller's arguments, of which one may have been misspelt."""
    url = endpoint_of(endpoint)
    check_names(url, parameters, own_names)
    fields = {**parameters, **(extra_body or {})}
    make = _filled(prompt, table)
    instruct = None if system is None else PromptTemplate(system, "the system message")
    if instruct is not None:
        instruct.check(table)
    if instruct is not None and url is not Endpoint.CHAT:
        raise InvalidInput(f"a system message belongs to {Endpoint.CHAT}; leave it out for {url}")

    def line(identity: str, row: Row) -> dict[str, Any]:
        made = make(row)
        text, messages = (made, None) if isinstance(made, str) else (None, made)
        if instruct is not None:
            said: Messages = [{"role": "user", "content": text}] if messages is None else messages
            text, messages = None, [{"role": "system", "content": instruct(row)}, *said]
        body = body_of(url, prompt=text, messages=messages, body=None, model=model, parameters=fields)
        return {"custom_id": identity, "method": "POST", "url": str(url), "body": body}

    requests = RowRequests(table, custom_ids_of(table, custom_id), line)
    _check_all(table, line)
    return requests


def custom_ids_of(rows: Rows, column: str | None) -> Sequence[str]:
    """The custom_id of each row. Raises `InvalidInput` for a column that is not there, and for one that is no key."""
    if column is None:
        return [f"row-{number}" for number in range(len(rows))]
    rows.check_column(column, "custom_id", "name one of them, or none")
    found: dict[str, int] = {}
    for number, row in enumerate(rows):
        value = row.get(column)
        if is_missing(value) or not (identity := str(value)):
            raise InvalidInput(f"row {number} has no value in {column!r}; a custom_id is needed for each row")
        if (first := found.setdefault(identity, number)) != number:
            raise InvalidInput(
                f"rows {first} and {number} have the same custom_id {identity!r}; name a column whose values are all "
                "different, or none"
            )
    return list(found)


def _filled(prompt: Prompt, rows: Rows) -> Callable[[Row], str | Messages]:
    if callable(prompt):
        return prompt
    template = PromptTemplate(prompt)
    template.check(rows)
    return template


def _check_all(rows: Rows, line: Callable[[str, Row], object]) -> None:
    """Fill every row once. Raises `InvalidInput` with the number of those that cannot be."""
    missing: list[tuple[int, str]] = []
    for number, row in enumerate(rows):
        try:
            line("", row)
        except MissingValue as error:
            missing.append((number, error.column))
    if missing:
        number, column = missing[0]
        rest = f" and {len(missing) - 1:,} more rows have" if len(missing) > 1 else " has"
        raise InvalidInput(
            f"row {number}{rest} no value in a column that the prompt names, such as {column!r}; fill them "
            "or drop these rows"
        )
