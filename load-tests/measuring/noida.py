"""The broker noida-db: it keeps commit metadata and static members, and hardly lets a group's first member wait."""

import importlib.util
from pathlib import Path

from backburner.local.programs.child import Program, clean_environment
from backburner_schemas.errors import QueueError, SettingsError


def noida_program(folder: Path, port: int) -> Program:
    """The program, with its data in that folder. Raises `SettingsError` if it is not installed."""
    package = importlib.util.find_spec("noida_db")
    if package is None or package.origin is None:
        raise SettingsError("noida-db is not installed; run `make setup`")
    data = folder / "noida"
    data.mkdir(parents=True)
    return Program(
        name="the broker",
        argv=(
            str(Path(package.origin).parent / "noida-db"),
            *("start", "--data-dir", str(data), "--only", "kafka", "--kafka-port", str(port)),
        ),
        env=clean_environment(),
        log=folder / "logs" / "broker.log",
        error=QueueError,
    )
