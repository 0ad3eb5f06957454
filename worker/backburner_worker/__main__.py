"""`backburner-worker`: one worker process, told by BACKBURNER_… variables what to be."""

import asyncio
import signal
import sys

from backburner.logs import configure, get_logger
from backburner_schemas.errors import BackburnerError, SettingsError
from backburner_worker.lifecycle import tell_reasons
from backburner_worker.settings import WorkerSettings


def main() -> None:
    """Run until a signal says stop. Ends with 0 after a drain, 130 if interrupted before, else 1 and a reason."""
    if sys.argv[1:]:
        sys.stderr.write(
            "usage: backburner-worker\nIt takes BACKBURNER_… variables alone; docs/settings.md lists them.\n"
        )
        sys.exit(0 if {"-h", "--help"} & set(sys.argv[1:]) else 2)
    try:
        settings = WorkerSettings.load()
        configure(settings.log_level)
        asyncio.run(_run(settings))
    except KeyboardInterrupt:
        # Before the drain's own handler is there: the model is still loading, and nothing was pulled.
        get_logger(__name__).info("interrupted before the first request")
        sys.exit(128 + signal.SIGINT)
    except (BackburnerError, BaseExceptionGroup) as error:
        if not tell_reasons(error):
            raise
        sys.exit(1)


async def _run(settings: WorkerSettings) -> None:
    try:
        from backburner_worker.app import run_worker
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed; run `pip install 'backburner[worker]'` on a GPU machine, or `make setup`"
        ) from error
    await run_worker(settings)


if __name__ == "__main__":
    main()
