"""The engines that a worker can hold, as settings and command lines spell them."""

from enum import StrEnum


class EngineKind(StrEnum):
    """The engines that a worker can hold."""

    VLLM = "vllm"
    """vLLM, in this process."""
    OPENAI_HTTP = "openai-http"
    """Servers elsewhere that speak OpenAI's HTTP API."""
    FAKE = "fake"
    """Deterministic answers without a model, for tests of speed and faults."""
