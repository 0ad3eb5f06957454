"""A program for an environment that has Ray: `ray.data.llm` answers a batch file, and prints how long that took.

python ray_batch.py MODEL REQUESTS.jsonl ENGINE_ARGUMENTS…

The one line of JSON on stdout has `seconds` (from before Ray starts to the last row), `steady_seconds` (from the first
request that the engine took to the last row), `tokens` and `rows`. Ray Data creates its engine anew for each dataset,
so its start is part of every run. This file imports nothing of ours.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil

_BATCH_REQUESTS = 32
"""Rows that go to the engine together. Several batches overlap, so this is no barrier."""


def main(model: str, requests: str, arguments: list[str]) -> None:
    """Answer the file."""
    started = time.time()
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    gpus = int(os.environ.get("BENCH_GPUS", "0"))
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs=_engine_kwargs(arguments),
        batch_size=_BATCH_REQUESTS,
        max_concurrent_batches=8,
        concurrency=1,
        log_engine_metrics=False,
        placement_group_config={"bundle_per_worker": {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}},
    )
    processor = build_processor(config, preprocess=_preprocess, postprocess=_postprocess)
    lines = [json.loads(line) for line in Path(requests).read_text().splitlines()]
    rows = processor(ray.data.from_items(lines, override_num_blocks=max(1, len(lines) // _BATCH_REQUESTS))).take_all()
    ended = time.time()
    found = {
        "seconds": ended - started,
        "steady_seconds": ended - min(row["ended"] - row["took"] for row in rows),
        "cpu_seconds": _cpu_seconds(),
        "tokens": sum(row["tokens"] for row in rows),
        "rows": len(rows),
    }
    print(json.dumps(found), flush=True)
    ray.shutdown()


def _cpu_seconds() -> float:
    """User and system seconds of this program and all that it started, also of what has ended already."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (me, *me.children(recursive=True)))


def _engine_kwargs(arguments: list[str]) -> dict[str, Any]:
    """Arguments of vLLM by the names of its Python interface; those without a value are switches."""
    found: dict[str, Any] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name = argument.removeprefix("--").replace("-", "_")
            found[name] = True
        else:
            found[name] = int(argument) if argument.isdigit() else argument
    return found


def _preprocess(row: dict[str, Any]) -> dict[str, Any]:
    body = row["body"]
    return {
        "messages": body["messages"],
        "sampling_params": {
            "max_tokens": body["max_tokens"],
            "temperature": body["temperature"],
            "ignore_eos": body["ignore_eos"],
        },
    }


def _postprocess(row: dict[str, Any]) -> dict[str, Any]:
    return {"tokens": row["num_generated_tokens"], "took": row["time_taken_llm"], "ended": time.time()}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
