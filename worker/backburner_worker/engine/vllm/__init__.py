"""vLLM as the engine, in the worker's own process. Only `names` imports it."""
