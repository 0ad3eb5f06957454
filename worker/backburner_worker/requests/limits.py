"""How much one body may ask for. Numbers only; `parameters` applies them."""

from dataclasses import dataclass

DATA_URLS = "data:"
"""In `BodyLimits.media_domains`, allows media that are inside the body itself."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Caps on one request's body. The size of the body as a whole is checked where the line is parsed."""

    max_choices: int = 16
    """`n` and `best_of` at most: each is a sequence of its own in the engine."""
    max_inputs: int = 2048
    """Embedding inputs and score pairs in one request; OpenAI's own limit."""
    max_prompts: int = 128
    """Prompts in one completion request."""
    max_schema_bytes: int = 64 * 1024
    """JSON schema, grammar, choices or tools, as JSON. They are compiled on the engine's own thread."""
    max_schema_depth: int = 64
    """Levels of nesting in a schema; grammar compilers recurse."""
    max_regex_chars: int = 2048
    """A regular expression; its automaton can be far bigger than its text."""
    media_domains: frozenset[str] = frozenset()
    """Host names from which images, audio and video may be fetched, and `data:` for media inside the body.

    None at all unless set: otherwise any body could make the worker call addresses inside its network.
    """
