"""`backburner-worker`: one worker process, or the fetching of its model, configured by BACKBURNER_… variables."""

import asyncio
import signal
import sys

from backburner.logs import configure, get_logger
from backburner.process.signals import end_at_sigterm, on_stop_signal
from backburner.runtime.failure import exit_status, log_reasons
from backburner_schemas.errors import BackburnerError
from backburner_worker.check import import_app, run_check
from backburner_worker.settings import WorkerSettings

_USAGE = """\
usage: backburner-worker [--check [--connect] | fetch-model]
It is configured by BACKBURNER_… variables alone; docs/settings.md lists them.

  --check      load no model and connect to nothing: read the settings, import all that the engine needs, and print in
               one line what was found, or what is wrong; for builds of images, which need no GPU for it
  --connect    with --check: ask the servers of the engine openai-http as well
  fetch-model  make the folder BACKBURNER_MODEL from BACKBURNER_MODEL_SOURCE, unless it is there, and end; it can be
               killed and started again, and several may run at once on one volume; docs/models.md
"""


def main() -> None:
    """Run until a signal asks it to stop.

    Exits with 0 after a drain, and with 130 if interrupted before, when SIGTERM ends it at once. After an error it logs
    the reason, and exits with 2 where a setting or what is installed cannot be used, so that another start would end
    the same way, else with 1.
    """
    end_at_sigterm()
    match sys.argv[1:]:
        case []:
            run, part = _run, "worker"
        case ["fetch-model"]:
            run, part = _fetch_model, "fetch-model"
        case ["--check"]:
            sys.exit(run_check())
        case ["--check", "--connect"]:
            sys.exit(run_check(connect=True))
        case arguments:
            sys.stderr.write(_USAGE)
            sys.exit(0 if {"-h", "--help"} & set(arguments) else 2)
    # Before the settings are known: one that cannot be used is logged in the form that all else has.
    configure("info")
    try:
        settings = WorkerSettings.load()
        configure(settings.log_level)
        asyncio.run(run(settings))
    except KeyboardInterrupt:
        # Before the drain's own handler is installed: the model is still loading, or fetched, and nothing was pulled.
        get_logger(__name__).info("interrupted before the first request")
        sys.exit(128 + signal.SIGINT)
    except (BackburnerError, BaseExceptionGroup) as error:
        if not log_reasons(error, part):
            raise
        sys.exit(exit_status(error))


async def _run(settings: WorkerSettings) -> None:
    await import_app().run_worker(settings)


async def _fetch_model(settings: WorkerSettings) -> None:
    from backburner_worker.model_fetch.fetch import fetch_model

    fetching = asyncio.ensure_future(fetch_model(settings))

    def stop() -> None:
        fetching.cancel()

    # The first process of a container, as which this runs, is not ended by a signal that it does not handle.
    on_stop_signal(stop)
    await asyncio.wait([fetching])
    if fetching.cancelled():
        get_logger(__name__).warning("stopped before the model was there; another start goes on from what was fetched")
        sys.exit(128 + signal.SIGTERM)
    fetching.result()


if __name__ == "__main__":
    main()
