"""A child process: vLLM alone. Each question `{"first", "count"}` is a batch for `LLM.chat`; the answer is its time."""

import json
import os
import sys
import time
from typing import Any

from prompts import MAX_TOKENS, messages


def main(model: str, arguments: list[str]) -> None:
    """Warm the engine up, then answer questions until there are none."""
    from backburner_worker.engine import vllm_compat

    vllm_compat.prepare_environment(model)
    from vllm import LLM, SamplingParams

    parsed = vllm_compat.parse_arguments(model, arguments, "bare", frozenset())
    llm = LLM(
        model=model,
        max_model_len=parsed.max_model_len,
        max_num_seqs=parsed.max_num_seqs,
        max_num_batched_tokens=parsed.max_num_batched_tokens,
        enforce_eager=parsed.enforce_eager,
        kv_cache_memory_bytes=parsed.kv_cache_memory_bytes,
        dtype=parsed.dtype,
    )
    sampling = SamplingParams(max_tokens=MAX_TOKENS, temperature=0, ignore_eos=True)

    def run(first: int, count: int) -> dict[str, Any]:
        conversations = [messages(number) for number in range(first, first + count)]
        cpu, started = _cpu(), time.monotonic()
        outputs = llm.chat(conversations, sampling, use_tqdm=False)
        seconds = time.monotonic() - started
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return {"seconds": seconds, "cpu_seconds": _cpu() - cpu, "tokens": tokens}

    run(1_000_000, 4)
    print(json.dumps({"warm": True}), flush=True)
    for question in sys.stdin:
        print(json.dumps(run(**json.loads(question))), flush=True)


def _cpu() -> float:
    """CPU seconds of this process; vLLM's core runs as a child and is counted when the system tells."""
    import psutil

    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    main(sys.argv[1], sys.argv[2:])
