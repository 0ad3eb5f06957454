"""Checks well-formed lines fast, many at a time. Whatever is unclear it leaves to the full check, line by line.

It exists for the benchmark `submit` (docs/benchmarks.md): the full check of a line of 400 bytes takes 20 µs, this
one 3, and a bare send 9. A property test holds it to the results of the full check.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, from_json, to_json

from backburner_schemas.errors import BodyTooComplex
from backburner_schemas.request import INPUT_FIELDS, MAX_CONTAINERS, MAX_CUSTOM_ID_CHARACTERS, check_parsed_size

_INPUTS = {str(endpoint): fields for endpoint, fields in INPUT_FIELDS.items()}
_OPENING, _CLOSING = b"{}"
_FIELD_COUNT = 3
"""Fields that a line must have; a fourth, the method, is optional."""


class FastChecked(NamedTuple):
    """Lines that the full check accepts too, and that may travel as they are.

    Each is one JSON object with the fields of a request alone, in which no name is repeated. So any reader finds in
    the line's own bytes what was found here.
    """

    custom_ids: Sequence[str]
    models: set[str]
    data: bytes
    """The canonical forms of the requests, each with a line's end."""


def fast_check(lines: Sequence[bytes], max_bytes: int) -> FastChecked | None:
    """The requests in the lines. None leaves all of them to the full check, and means nothing about any."""
    custom_ids: list[str] = []
    models: set[str] = set()
    canonical: list[bytes] = []
    names = 0
    try:
        for line in lines:
            check_parsed_size(line, max_bytes)
            found = from_json(line, allow_inf_nan=False)
            custom_id, url, body = found["custom_id"], found["url"], found["body"]
            model = body["model"]
            if (
                line[0] != _OPENING
                or line[-1] != _CLOSING
                or not (type(custom_id) is type(model) is str and type(body) is dict)
                or not (model and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS)
                or body.get("stream")
                or (len(found) != _FIELD_COUNT and (len(found) != _FIELD_COUNT + 1 or found["method"] != "POST"))
                or not _has_input(body, _INPUTS[url])
            ):
                return None
            custom_ids.append(custom_id)
            models.add(model)
            canonical.append(to_json((custom_id, url, body), inf_nan_mode="constants"))
            names += len(found)
    except (ValueError, TypeError, LookupError, PydanticSerializationError, BodyTooComplex):
        return None
    data = b"\n".join([*canonical, b""])
    if (
        max(map(len, (*lines, *canonical))) > max_bytes
        or not _have_nothing_else(lines, data, names)
        or not _are_few_containers(canonical)
    ):
        return None
    return FastChecked(custom_ids, models, data)


def canonical_lines(lines: Sequence[bytes], max_bytes: int) -> bytes:
    """The canonical forms of lines that passed the check before, each with a line's end."""
    found = fast_check(lines, max_bytes)
    assert found is not None
    return found.data


def _has_input(body: dict[str, Any], fields: Sequence[str]) -> bool:
    return fields[0] in body or any(name in body for name in fields)


def _are_few_containers(lines: Sequence[bytes]) -> bool:
    """Whether no line can have more objects and lists than one request may: these signs may also be within texts."""
    longest = max(map(len, lines))
    return longest <= MAX_CONTAINERS or all(
        line.count(b"{") + line.count(b"[") <= MAX_CONTAINERS for line in lines if len(line) > MAX_CONTAINERS
    )


def _have_nothing_else(lines: Sequence[bytes], data: bytes, names: int) -> bool:
    """Whether the lines are these canonical forms but for spaces, escapes and the names of the requests' fields.

    A name that is repeated in an object adds a colon that the canonical form does not have. An escaped colon could hide
    it, so there must be none. A number that no float can hold was read as infinite; a text with that word is left
    to the full check too.
    """
    text = b"".join(lines)
    return (
        text.count(b":") == data.count(b":") + names
        # A single byte is found much faster, and mostly there is none.
        and (b"\\" not in text or b"\\u003" not in text)
        and b"Infinity" not in data
    )
