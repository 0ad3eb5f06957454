"""Settings of the log."""

from pydantic import BaseModel


class LogSettings(BaseModel):
    """Logs: how much is written."""

    log_level: str = "info"
    """Level of a worker's log: `debug`, `info`, `warning` or `error`; the command line shows its log with `-v`."""
