"""A stand-in for `python -m backburner up`: the same options, but our own parts are `local_worker.py`."""

import argparse
import json
import secrets
import sys
from pathlib import Path

from backburner.local import Preparation, UpOptions, run_down, run_up, run_up_detached
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import BackburnerError

PART = (sys.executable, str(Path(__file__).with_name("local_worker.py")))


def say(line: str) -> None:
    print(line, flush=True)


async def ensure_pool(env, model) -> None:
    note("ensured.json", json.dumps({"env": dict(env), "model": model}))


async def ensure_api_key(_env, last) -> str:
    return last or f"bb-{secrets.token_hex(8)}"


def note(name: str, text: str) -> None:
    Path(name).write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--engine", default="fake")
    parser.add_argument("--queue", default="kafka")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--warm-seconds", type=float, default=60)
    parser.add_argument("--gateway", action="store_true")
    parser.add_argument("--gateway-port", type=int)
    parser.add_argument("--detach", action="store_true")
    given = parser.parse_args()
    options = UpOptions(
        engine=EngineKind(given.engine),
        model=given.model,
        workers=given.workers,
        data=given.data,
        warm_seconds=given.warm_seconds,
        gateway=given.gateway,
        gateway_port=given.gateway_port,
        worker_argv=PART,
        gateway_argv=PART,
        dispatcher_argv=PART,
        cli_argv=(sys.executable, __file__),
    )
    try:
        if given.command == "down":
            return run_down(Path.cwd(), say=say)
        if given.detach:
            return run_up_detached(options, say=say)
        return run_up(options, say=say, preparation=Preparation(ensure_pool, ensure_api_key))
    except BackburnerError as error:
        say(f"error: {error.message}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
