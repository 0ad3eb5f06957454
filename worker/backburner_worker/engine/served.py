"""The name that a model will be served by, as far as the settings reveal it before anything is loaded. Pure."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.fake.engine import FAKE_MODEL


def name_of(model: str, given: str | None) -> str:
    """The name that is set, or a folder's own name, or the model as it is named."""
    return given or (Path(model).resolve().name if Path(model).is_dir() else model)


def arguments_of(engine_args: str | Sequence[str]) -> list[str]:
    """The engine's arguments one by one. Raises `SettingsError` for a quote that is not closed."""
    try:
        return shlex.split(engine_args) if isinstance(engine_args, str) else list(engine_args)
    except ValueError as error:
        raise SettingsError(f"BACKBURNER_ENGINE_ARGS cannot be read ({error}); close the quote") from error


def expected_name(kind: str, *, model: str, given: str | None, engine_args: str) -> str | None:
    """The name that the pool is made from, as the engine will report it once warm; None if that cannot be known."""
    if kind == "fake":
        return given or model or FAKE_MODEL
    if kind == "openai-http":
        return given or model or None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--served-model-name", "--served_model_name", nargs="+")
    try:
        names = parser.parse_known_args(arguments_of(engine_args))[0].served_model_name
    except (SettingsError, argparse.ArgumentError):
        return None
    return names[0] if names else name_of(model, given)
