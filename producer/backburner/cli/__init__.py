"""The `backburner` command. Only its entry point is here; nothing heavy is imported before a command needs it."""


def main() -> None:
    """Run the command line and end the process with one of `backburner.cli.exit_codes.ExitCode`."""
    from backburner.cli.app import app

    app(prog_name="backburner")
