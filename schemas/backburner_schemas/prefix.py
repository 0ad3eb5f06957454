"""What a prompt begins with, as a chain of hashes: prompts whose chains begin alike share that much text. Pure.

An engine keeps the attention state of prompts that it has seen, block by block. Requests that share their first blocks
are cheap one after another; producer and worker recognise them by the same chain.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from pydantic_core import to_json

BLOCK_CHARACTERS = 256
"""Characters of a prompt in one block: about 64 tokens of English. Only whole blocks count."""
MAX_BLOCKS = 32
"""Blocks that are looked at: what two prompts share beyond 2,000 tokens tells no more."""

_ROOM_CHARACTERS = BLOCK_CHARACTERS * MAX_BLOCKS


def prefix_chain(body: Mapping[str, Any] | None) -> tuple[int, ...]:
    """A hash for each of the prompt's first whole blocks, each over all before it; empty for a short prompt.

    Takes any body that is a JSON object, whatever its fields hold. Hashes are CRC-32: stable across processes, and a
    collision costs a little order, never a result.
    """
    if body is None:
        return ()
    text = prompt_beginning(body, _ROOM_CHARACTERS)
    if len(text) < BLOCK_CHARACTERS:
        return ()
    chain = []
    found = 0
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        found = crc32(text[start : start + BLOCK_CHARACTERS].encode("utf-8", "surrogatepass"), found)
        chain.append(found)
    return tuple(chain)


def prompt_beginning(body: Mapping[str, Any], characters: int) -> str:
    """So many of the prompt's first characters, or all; of a body that holds several prompts, of the first one.

    Takes any body that is a JSON object, whatever its fields hold.
    """
    found, room = [], characters
    for part in _parts(body):
        found.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    return "".join(found)


def _parts(body: Mapping[str, Any]) -> Iterator[str]:
    """The prompt's text in the order in which templates put it: tools, then messages, or the prompt itself."""
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        yield to_json(tools, inf_nan_mode="null", serialize_unknown=True).decode("utf-8", "replace")
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict):
                yield f"\n{message.get('role')}\n"
                yield from _texts(message.get("content"))
        return
    instructions, given = body.get("instructions"), body.get("input")
    items = isinstance(given, list) and bool(given) and isinstance(given[0], dict)
    if isinstance(instructions, str) or items:
        # Of responses, in the form that chats have: templates get the instructions as the first message.
        if isinstance(instructions, str):
            yield f"\nsystem\n{instructions}"
        for item in given if isinstance(given, list) else [{"role": "user", "content": given}]:
            if isinstance(item, dict):
                yield f"\n{item.get('role')}\n"
                yield from _texts(item.get("content"))
        return
    prompt = body.get("prompt", body.get("input"))
    yield from _texts(prompt[:1] if isinstance(prompt, list) else prompt)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text
