"""Which beginnings of prompts are in the engine, so that what several share is counted once. Pure."""

_COMPARED_BLOCKS = (2, 4, 6, 8, 12, 16, 24, 32)
"""Blocks after which prompts are compared: fewer comparisons, at the price of a little counted more than once."""

MIN_BLOCKS = _COMPARED_BLOCKS[0]
"""Blocks of a prompt that is worth comparing."""

Nodes = tuple[int, ...]
"""The beginnings of a prompt: a number for each depth that it reaches."""


def nodes_of(chain: tuple[int, ...], keeper: int) -> Nodes:
    """The beginnings of a prompt with that chain of block hashes. Prompts of another keeper share nothing with it."""
    length = len(chain)
    return tuple([chain[depth - 1] ^ keeper for depth in _COMPARED_BLOCKS if depth <= length])


def blocks_of(held: Nodes) -> int:
    """Blocks of the prompt that they stand for."""
    return _COMPARED_BLOCKS[len(held) - 1] if held else 0


class Prefixes:
    """Beginnings with their users, and the tokens that they occupy in sum."""

    def __init__(self) -> None:
        self.tokens = 0
        """Tokens of all beginnings, each counted once."""
        self._users: dict[int, int] = {}
        self._tokens: dict[int, int] = {}

    def shared(self, held: Nodes) -> int:
        """Blocks of it that are in the engine by now."""
        found = 0
        for node, blocks in zip(held, _COMPARED_BLOCKS, strict=False):
            if node not in self._users:
                break
            found = blocks
        return found

    def enter(self, held: Nodes, block: float) -> None:
        """It goes into the engine, with so many tokens in each block."""
        users = self._users
        before = 0
        for node, blocks in zip(held, _COMPARED_BLOCKS, strict=False):
            if node in users:
                users[node] += 1
            else:
                users[node] = 1
                tokens = self._tokens[node] = int((blocks - before) * block)
                self.tokens += tokens
            before = blocks

    def leave(self, held: Nodes) -> None:
        """It left the engine."""
        users = self._users
        for node in held:
            if users[node] > 1:
                users[node] -= 1
            else:
                del users[node]
                self.tokens -= self._tokens.pop(node)
