"""`backburner-dispatcher`: one dispatcher process, configured by BACKBURNER_… variables."""

import asyncio
import signal
import sys

from backburner.logs import configure, get_logger
from backburner.process.signals import end_at_sigterm
from backburner.runtime.failure import exit_status, log_reasons
from backburner_schemas.errors import BackburnerError, SettingsError

_USAGE = """\
usage: backburner-dispatcher
It sends stored jobs onto the queue. It is configured by BACKBURNER_… variables alone; docs/settings.md lists them.
"""


def main() -> None:
    """Run until a signal asks it to stop.

    Exits with 0 after it has handed its jobs back, and with 130 if interrupted before. After an error it logs the
    reason, and exits with 2 where a setting or what is installed cannot be used, so that another start would end the
    same way, else with 1.
    """
    end_at_sigterm()
    if arguments := sys.argv[1:]:
        sys.stderr.write(_USAGE)
        sys.exit(0 if {"-h", "--help"} & set(arguments) else 2)
    # Before the settings are known: one that cannot be used is logged in the form that all else has.
    configure("info")
    try:
        asyncio.run(_run())
    except KeyboardInterrupt:
        get_logger(__name__).info("interrupted before it began")
        sys.exit(128 + signal.SIGINT)
    except (BackburnerError, BaseExceptionGroup) as error:
        if not log_reasons(error, "dispatcher"):
            raise
        sys.exit(exit_status(error))


async def _run() -> None:
    try:
        from backburner.dispatcher.app import run_dispatcher
        from backburner.dispatcher.settings import DispatcherSettings
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed; run `pip install 'backburner[dispatcher]'`") from error
    settings = DispatcherSettings.load()
    configure(settings.log_level)
    await run_dispatcher(settings)


if __name__ == "__main__":
    main()
