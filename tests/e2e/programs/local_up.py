"""A stand-in for `python -m backburner up`: the same options, but the workers are `local_worker.py`."""

import argparse
import json
import sys
from pathlib import Path

from backburner.local import UpOptions, run_down, run_up, run_up_detached
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import BackburnerError

HERE = Path(__file__).parent


def say(line: str) -> None:
    print(line, flush=True)


async def ensure(env, model) -> None:
    note(json.dumps({"env": dict(env), "model": model}))


def note(text: str) -> None:
    Path("ensured.json").write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--engine", default="fake")
    parser.add_argument("--queue", default="kafka")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--warm-seconds", type=float, default=60)
    parser.add_argument("--detach", action="store_true")
    given = parser.parse_args()
    options = UpOptions(
        engine=EngineKind(given.engine),
        model=given.model,
        workers=given.workers,
        data=given.data,
        warm_seconds=given.warm_seconds,
        worker_argv=(sys.executable, str(HERE / "local_worker.py")),
        cli_argv=(sys.executable, __file__),
    )
    try:
        if given.command == "down":
            return run_down(Path.cwd(), say=say)
        if given.detach:
            return run_up_detached(options, say=say)
        return run_up(options, say=say, ensure=ensure)
    except BackburnerError as error:
        say(f"error: {error.message}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
