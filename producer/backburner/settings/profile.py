"""Profiles: settings by name in a TOML file of the user's, for those who work with more than one deployment.

[profiles.production]
queue_url = "kafka://kafka-1.example:9092"
store_url = "s3://results/main"
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from backburner.settings.group import SettingGroup
from backburner_schemas.errors import SettingsError
from backburner_schemas.setting_names import PREFIX, SETTING_NAMES

_MAX_BYTES = 1024 * 1024
_SECRET_SUFFIXES = ("_password", "_secret")
_SHARED_MODES = stat.S_IRWXG | stat.S_IRWXO
_VARIABLE = PREFIX + "PROFILE"
_KNOWN = frozenset(name.removeprefix(PREFIX).lower() for name in SETTING_NAMES) - {"profile"}
"""As in the environment, a setting of another part is passed over, and a typing error is found."""


class ProfileSettings(SettingGroup):
    """Profile: settings by name, for people who work with more than one deployment."""

    profile: str | None = None
    """Profile of `~/.config/backburner/config.toml` whose settings count where no variable is set; see
    [profiles](cli.md#profiles)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings under one name, as they are written."""

    name: str
    file: Path
    values: Mapping[str, Any] = field(repr=False)
    """By the settings' names, in lower case; there may be secrets among them."""


def profile_file() -> Path:
    """The user's file: `$XDG_CONFIG_HOME/backburner/config.toml`, or below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification asks to ignore a relative path.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.config").expanduser()
    return root / "backburner" / "config.toml"


def sources(
    kind: type[BaseSettings], arguments: InitSettingsSource, environment: PydanticBaseSettingsSource
) -> tuple[PydanticBaseSettingsSource, ...]:
    """Where settings come from, the first before the others. Raises `SettingsError` for a profile that is not there.

    A profile that an argument names stands in the environment's place: it is another deployment, and none of this one's
    settings belongs to it. One that the environment names stands behind the environment.
    """
    profile = chosen_profile(arguments.init_kwargs.get("profile"))
    if profile is None:
        return arguments, environment
    values = {name: value for name, value in profile.values.items() if name in kind.model_fields}
    source = InitSettingsSource(kind, init_kwargs=values)
    if arguments.init_kwargs.get("profile"):
        return arguments, source
    return arguments, environment, source


def chosen_profile(argument: Any) -> Profile | None:
    """The profile that the argument names, or else the environment; None if neither does. Raises `SettingsError`."""
    name = argument or os.environ.get(_VARIABLE)
    return read_profile(str(name)) if name else None


def read_profiles() -> list[Profile]:
    """All profiles of the user's file, in its order; none if there is no file. Raises `SettingsError`.

    A file that others may read must hold no secret.
    """
    file = profile_file()
    if (data := _read(file)) is None:
        return []
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        # It says where, and quotes no value.
        raise SettingsError(f"{file} is no TOML ({error}); correct it") from None
    tables = document.pop("profiles", {})
    if document or not isinstance(tables, dict):
        raise SettingsError(f"{file} has something outside of [profiles.NAME]; put settings under such a heading")
    return [_profile(name, table, file) for name, table in tables.items()]


def read_profile(name: str) -> Profile:
    """The profile of that name. Raises `SettingsError` if there is none, or it cannot be used."""
    profiles = {one.name: one for one in read_profiles()}
    if name not in profiles:
        there = f"those are {', '.join(profiles)}" if profiles else f"there are none in {profile_file()}"
        raise SettingsError(
            f"there is no profile {name!r}; {there}, and one is made there by a heading [profiles.{_key(name)}]"
        )
    return profiles[name]


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else '"…"'


def _read(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}); correct its mode, or remove it") from error
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{file} is over {_MAX_BYTES:,} bytes; it holds a heading and a few lines for each profile")
    return data


def _profile(name: str, table: Any, file: Path) -> Profile:
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: {name!r} is no profile; write [profiles.NAME] above its settings")
    for key, value in table.items():
        if key not in _KNOWN:
            near = difflib.get_close_matches(key.lower().removeprefix("backburner_"), _KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists them, here in lower case"
            raise SettingsError(f"{file}: the profile {name!r} has {key!r}, which is no setting; {hint}")
        if not isinstance(value, (str, int, float, bool)):
            raise SettingsError(f"{file}: {key} of the profile {name!r} is no text, number or truth value")
        if key.endswith(_SECRET_SUFFIXES) and file.stat().st_mode & _SHARED_MODES:
            raise SettingsError(
                f"others may read {file}, which holds a secret: {key} of the profile {name!r}; run `chmod 600 {file}`"
            )
    return Profile(name, file, table)
