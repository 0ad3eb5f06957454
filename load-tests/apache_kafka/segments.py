"""A partition's log on disk, while its broker is down: how a test loses the end of it, as a disk or a replica does."""

import os
import struct
from pathlib import Path

_HEAD = struct.Struct(">qi")
"""A batch begins with its first offset, and the bytes that follow this."""


def lose_end(data: Path, topic: str, partition: int, offset: int) -> None:
    """Cut the log in the data folder off at the batch that holds that offset: it and all behind it are gone."""
    (segment,) = (data / f"{topic}-{partition}").glob("*.log")
    content, at = segment.read_bytes(), 0
    while at < len(content):
        _, length = _HEAD.unpack_from(content, at)
        following = at + _HEAD.size + length
        if following >= len(content) or _HEAD.unpack_from(content, following)[0] > offset:
            break
        at = following
    os.truncate(segment, at)
