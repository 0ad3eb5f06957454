"""What somebody who may write below one tenant could put in the place of a stored object, for those who read it."""

import json
from typing import Any

from hypothesis import strategies as st

LARGE_BYTES = (1 << 20) + 1
"""One more than is read of a document."""

HOSTILE_BYTES: dict[str, bytes] = {
    "nothing": b"",
    "no json": b"{",
    "no text": b"\xff\xfe\x00{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "a deep list": b"[" * 200_000,
    "deep objects": b'{"v":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of ten thousand digits": b'{"total":' + b"9" * 10_000 + b"}",
    "too many bytes": b'{"v":1,"x":"' + b"x" * LARGE_BYTES + b'"}',
}
"""By what they are."""

HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**53,
    2**63,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "../../x",
    "0-9007199254740991",
    "9" * 20,
    "\x00",
    "x" * 10_000,
    [],
    {},
    [[]] * 100,
    {"": None},
)


def hostile_documents(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The valid document with some fields changed, left out or added, as JSON with all that Python writes."""
    change = st.tuples(st.sampled_from([*valid, "unknown"]), st.sampled_from([*HOSTILE_VALUES, ...]))
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _changed(valid, changes))


def _changed(valid: dict[str, Any], changes: list[tuple[str, Any]]) -> bytes:
    found = dict(valid)
    for name, value in changes:
        if value is ...:
            found.pop(name, None)
        else:
            found[name] = value
    return json.dumps(found).encode()
