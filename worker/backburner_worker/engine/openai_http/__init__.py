"""An engine of servers elsewhere that speak OpenAI's HTTP API: vLLM, KServe, TGI, Triton, a managed service."""
