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
    max_stops: int = 64
    """Texts in `stop`."""
    max_bad_words: int = 256
    """Texts in `bad_words`. Each is cut into tokens twice before the request starts."""
    max_word_characters: int = 1024
    """Characters of one text in `stop` or `bad_words`."""
    max_stop_token_ids: int = 1024
    """Token numbers in `stop_token_ids`."""
    max_allowed_token_ids: int = 16_384
    """Token numbers in `allowed_token_ids`."""
    max_logit_biases: int = 1024
    """Tokens in `logit_bias`."""
    max_tools: int = 128
    """Tools in one request; OpenAI's own limit."""
    max_template_arguments: int = 64
    """Fields of `chat_template_kwargs`."""
    media_domains: frozenset[str] = frozenset()
    """Host names from which images, audio and video may be fetched, and `data:` for media inside the body.

    None at all unless set: otherwise any body could make the worker call addresses inside its network.
    """
