"""The `backburner` command. Only its entry point is here; nothing heavy is imported before a command needs it."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with one of `backburner.cli.exit_codes.ExitCode`."""
    from backburner.cli.app import app

    code: object = 0
    try:
        app(prog_name="backburner")
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by way of the interpreter's own end: the object store's threads may still be dropping their last Python
    # objects, and one that asks for the interpreter while it is torn down aborts the process (about one in five).
    os._exit(code if isinstance(code, int) else 1)
