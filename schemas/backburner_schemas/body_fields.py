"""The fields of a request's body that reach an engine, by endpoint. Workers say which values they may have."""

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

HARMLESS_NAMES = frozenset(
    {
        *("user", "metadata", "safety_identifier", "service_tier", "store", "prompt_cache_key"),
        *("prompt_cache_retention", "prompt_cache_options", "prediction", "stream", "stream_options", "background"),
        *("echo", "suffix", "n", "modalities", "verbosity", "max_tool_calls", "functions", "function_call"),
        *("truncation", "include"),
    }
)
"""Fields that workers accept where they change no answer, and leave out."""
