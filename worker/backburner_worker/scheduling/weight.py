"""What a held request takes in memory: the bytes of its message, or what these were parsed into if that is far more.

Pure, and nearly free for ordinary requests: the walk over the objects is for those alone that look odd from outside.
"""

from typing import Any

_NODE_BYTES = 100
"""What an object, a list, or an item of one takes, about: 64 to 184 bytes of its own, and 8 where it is held."""
_CONTAINER_BYTES = 200
_ITEM_BYTES = 64
"""What a sign of an object or a list, and one between two items, stands for at a first look."""
_ORDINARY_RATIO = 4
_ORDINARY_BYTES = 2048
"""Requests whose objects may take so many times the message's bytes, and so many on top, count as their message."""


def weight(raw: bytes, body: dict[str, Any] | None) -> int:
    """Bytes that the message and its parsed body take, roughly; `raw` is the JSON that the body was parsed from."""
    size = len(raw)
    if body is None:
        return size
    # Signs within texts count too: there are never fewer of them than objects, lists and items.
    bound = _CONTAINER_BYTES * (raw.count(b"{") + raw.count(b"[")) + _ITEM_BYTES * raw.count(b",")
    if bound <= size * _ORDINARY_RATIO + _ORDINARY_BYTES:
        return size
    return size + _nodes(body) * _NODE_BYTES


def _nodes(body: dict[str, Any]) -> int:
    containers: list[Any] = [body]
    items = 0
    for container in containers:  # which grows meanwhile
        items += len(container)
        held = container.values() if isinstance(container, dict) else container
        containers.extend(item for item in held if type(item) is dict or type(item) is list)
    return items + len(containers)
