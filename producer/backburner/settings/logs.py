"""Settings of the log."""

from backburner.settings.group import SettingGroup


class LogSettings(SettingGroup):
    """Logs: how much is logged."""

    log_level: str = "info"
    """Level of a worker's log: `debug`, `info`, `warning` or `error`; the command line shows its log with `-v`."""
