"""`backburner-gateway`: one gateway process, configured by BACKBURNER_… variables."""

import asyncio
import signal
import sys
from importlib.util import find_spec

from backburner.logs import configure, get_logger
from backburner.process.signals import end_at_sigterm
from backburner.runtime.failure import exit_status, log_reasons
from backburner_schemas.errors import BackburnerError, SettingsError

_USAGE = """\
usage: backburner-gateway
OpenAI's files, batches and models over queue and object store, for any number of replicas.
It is configured by BACKBURNER_… variables alone; docs/settings.md lists them.
"""


def main() -> None:
    """Serve until a signal asks it to stop.

    Exits with 0 after a drain. After an error it logs the reason, and exits with 2 where a setting or what is installed
    cannot be used, so that another start would end the same way, else with 1.
    """
    end_at_sigterm()
    if arguments := sys.argv[1:]:
        sys.stderr.write(_USAGE)
        sys.exit(0 if {"-h", "--help"} & set(arguments) else 2)
    # Before the settings are known: one that cannot be used is logged in the form that all else has.
    configure("info")
    try:
        _run()
    except KeyboardInterrupt:
        get_logger(__name__).info("interrupted before the first call")
        sys.exit(128 + signal.SIGINT)
    except (BackburnerError, BaseExceptionGroup) as error:
        if not log_reasons(error, "gateway"):
            raise
        sys.exit(exit_status(error))


def _run() -> None:
    if missing := [name for name in ("fastapi", "uvicorn", "uvloop", "python_multipart") if find_spec(name) is None]:
        raise SettingsError(f"the gateway needs {', '.join(missing)}; run `pip install 'backburner[gateway]'`")
    import uvloop

    from backburner.gateway.app import run_gateway
    from backburner.gateway.settings import GatewaySettings

    settings = GatewaySettings.load()
    configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_gateway(settings))


if __name__ == "__main__":
    main()
