"""What a request's body may hold, by name: fields that reach an engine, and OpenAI's that change no answer. Pure.

Producers refuse a misspelt name by this list, workers take what is on it. Whoever moves a batch file from a hosted
service sends what its SDK wrote into it: a field that no engine here takes, and that says what happens anyway, must not
cost a request its life. With any other value it would change the answer, and is refused by its name. A null is not in
here: it means "not given", whatever the field. Which values the other fields may have is the worker's to say.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from backburner_schemas.request import Endpoint

_SAMPLING = frozenset(
    {
        # OpenAI's
        *("model", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "logit_bias", "logprobs"),
        *("frequency_penalty", "presence_penalty", "response_format"),
        # vLLM's
        *("top_k", "min_p", "repetition_penalty", "structured_outputs", "min_tokens", "stop_token_ids"),
        *("include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens"),
        *("bad_words", "allowed_token_ids", "truncate_prompt_tokens"),
    }
)

_NOT_OF_RESPONSES = frozenset(
    {
        # OpenAI has others in their place.
        *("n", "max_tokens", "logprobs", "response_format", "truncate_prompt_tokens"),
        # vLLM has none.
        *("min_tokens", "spaces_between_special_tokens", "bad_words", "allowed_token_ids"),
    }
)

FIELDS: dict[Endpoint, frozenset[str]] = {
    Endpoint.CHAT: _SAMPLING
    | {
        *("messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"),
        *("reasoning_effort", "include_reasoning", "thinking_token_budget", "chat_template_kwargs"),
        *("add_generation_prompt", "continue_final_message"),
    },
    Endpoint.COMPLETIONS: _SAMPLING | {"prompt", "best_of"},
    Endpoint.RESPONSES: (_SAMPLING - _NOT_OF_RESPONSES)
    | {
        *("input", "instructions", "max_output_tokens", "top_logprobs", "include", "text", "truncation"),
        *("tools", "tool_choice", "parallel_tool_calls", "reasoning", "include_reasoning", "chat_template_kwargs"),
    },
    Endpoint.EMBEDDINGS: frozenset(
        {
            *("model", "input", "messages", "encoding_format", "dimensions", "truncate_prompt_tokens"),
            "chat_template_kwargs",
        }
    ),
    Endpoint.SCORE: frozenset(
        {
            *("model", "text_1", "text_2", "queries", "documents", "items", "data_1", "data_2"),
            "truncate_prompt_tokens",
        }
    ),
}
"""The fields that reach an engine, by endpoint."""

_ANY = "any"


class HarmlessField(NamedTuple):
    """A field, and which of its values change no answer."""

    accepts: Callable[[Any], bool]
    """Whether the value changes no answer."""
    why: str
    """Why it does not, for readers of the code and of docs/parameters.md."""
    values: str
    """These values, for people."""

    @property
    def is_label(self) -> bool:
        """Whether it changes no answer whatever its value: it is left out even where an operator allows it."""
        return self.values == _ANY


def _any(why: str) -> HarmlessField:
    return HarmlessField(lambda _: True, why, _ANY)


def _off(why: str) -> HarmlessField:
    return HarmlessField(lambda value: value is False, why, "false")


def _one_of(*values: Any, why: str) -> HarmlessField:
    # By type too: in Python, 1 equals true.
    allowed = [(type(value), value) for value in values]
    shown = " or ".join(json.dumps(value) for value in values)
    return HarmlessField(lambda value: (type(value), value) in allowed, why, shown)


def _is_usage_switch(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() <= {"include_usage", "include_obfuscation"}


_LABEL = "it describes the caller to a hosted service; no model sees it"
_CACHE = "it steers a hosted service's prompt cache, which changes costs and no answer"

HARMLESS_FIELDS: Mapping[str, HarmlessField] = {
    "user": _any(_LABEL),
    "metadata": _any(_LABEL),
    "safety_identifier": _any(_LABEL),
    "service_tier": _any("it chooses a hosted service's prices; here the lane says what comes first"),
    "store": _any("every answer is kept as a record, and nowhere else, whatever it says"),
    "prompt_cache_key": _any(_CACHE),
    "prompt_cache_retention": _any(_CACHE),
    "prompt_cache_options": _any(_CACHE),
    "prediction": _any("it is a guess that only makes a hosted service faster"),
    "stream": _off("answers are stored whole"),
    "stream_options": HarmlessField(
        _is_usage_switch, "nothing streams, and every answer has its usage", "include_usage and include_obfuscation"
    ),
    "background": _off("every request waits on the queue, and none is polled for"),
    "echo": _off("the prompt is not repeated"),
    "suffix": _one_of("", why="nothing follows the completion"),
    "n": _one_of(1, why="an endpoint without choices gives one answer"),
    "modalities": _one_of(["text"], why="answers are texts"),
    "verbosity": _one_of("medium", why="it is the default, and models here know no other"),
    "max_tool_calls": _any("it bounds calls of tools that a hosted service runs, and none runs here"),
    "functions": _one_of([], why="there is no function to call"),
    "function_call": _one_of("none", "auto", why="functions themselves are refused, so none is called"),
    "truncation": _one_of("disabled", why="a prompt that is too long is refused, not cut"),
    "include": _one_of([], why="nothing more is asked for"),
}
"""Each with its reason. A field that an endpoint takes is not looked up here."""
