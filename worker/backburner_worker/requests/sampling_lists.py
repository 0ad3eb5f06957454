"""Lists among the sampling parameters: their forms and lengths. Pure.

Engines take them at any length, and pay for it on threads that all requests share: each step looks at them again, a
word is cut into tokens before it counts, and an error about one repeats the whole list.
"""

from typing import Any

from backburner_schemas.errors import RequestRefused
from backburner_worker.requests.limits import BodyLimits


def check_stop(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a text, or a bounded list of texts."""
    _check_words(name, [value] if isinstance(value, str) else value, limits.max_stops, limits.max_word_characters)


def check_bad_words(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a bounded list of texts."""
    _check_words(name, value, limits.max_bad_words, limits.max_word_characters)


def check_stop_token_ids(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a bounded list of token numbers."""
    _check_tokens(name, value, limits.max_stop_token_ids)


def check_allowed_token_ids(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a bounded list of token numbers."""
    _check_tokens(name, value, limits.max_allowed_token_ids)


def check_logit_bias(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a bounded object of numbers."""
    if not isinstance(value, dict):
        raise RequestRefused(f"{name} must be an object of token numbers and biases", param=name)
    check_length(name, value, limits.max_logit_biases)
    if not all(type(bias) is int or type(bias) is float for bias in value.values()):
        raise RequestRefused(f"{name} must hold numbers alone", param=name)


def check_length(name: str, value: "list[Any] | dict[str, Any]", limit: int) -> None:
    """Raise `RequestRefused` if it has more items than that."""
    if len(value) > limit:
        raise RequestRefused(f"{name} has {len(value):,} items and the limit is {limit:,}", param=name)


def _check_words(name: str, value: Any, limit: int, max_characters: int) -> None:
    if not isinstance(value, list):
        raise RequestRefused(f"{name} must be a list of texts", param=name)
    check_length(name, value, limit)
    for word in value:
        if not isinstance(word, str):
            raise RequestRefused(f"{name} must hold texts alone", param=name)
        if len(word) > max_characters:
            raise RequestRefused(
                f"{name} holds a text of {len(word):,} characters and the limit is {max_characters:,}", param=name
            )


def _check_tokens(name: str, value: Any, limit: int) -> None:
    if not isinstance(value, list):
        raise RequestRefused(f"{name} must be a list of token numbers", param=name)
    check_length(name, value, limit)
    if not all(type(token) is int for token in value):
        raise RequestRefused(f"{name} must hold token numbers alone", param=name)
