"""AWS's shared credentials file: keys by profile, which `aws configure` writes and a mounted Secret may hold."""

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path

from backburner.credentials.files import FromFiles
from backburner_schemas.errors import SettingsError

FILE = "AWS_SHARED_CREDENTIALS_FILE"
PROFILE = "AWS_PROFILE"
_USUAL = Path("~/.aws/credentials")
_USUAL_PROFILE = "default"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key of AWS's kind."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def shared_file() -> Path | None:
    """The file that `AWS_SHARED_CREDENTIALS_FILE` names, else the usual one if there is one, else None."""
    if named := os.environ.get(FILE):
        return Path(named)
    try:
        usual = _USUAL.expanduser()
        return usual if usual.is_file() else None
    except (OSError, RuntimeError):  # No home, or none that may be looked into.
        return None


def profile() -> str:
    """The profile that `AWS_PROFILE` names, else `default`."""
    return os.environ.get(PROFILE) or _USUAL_PROFILE


def renewed_file(what: str) -> FromFiles[AwsKeys] | None:
    """The keys that the file has for the profile, always those of its present content; None if it has none now.

    `what` is what the log calls them. Raises `SettingsError` for a file that cannot be used.
    """
    file = shared_file()
    if file is None or read_keys(file) is None:
        return None

    def read() -> AwsKeys:
        found = read_keys(file)
        if found is None:
            raise SettingsError(f"{file} has no keys for the profile {profile()!r}")
        return found

    return FromFiles(what, [file], read)


def read_keys(file: Path) -> AwsKeys | None:
    """The keys that the file has for the profile; None if the profile has none there. Raises `SettingsError`."""
    remedy = f"name a file as `aws configure` writes it in {FILE}"
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        parser.read_string(data[:_MAX_BYTES].decode())
    except OSError as error:
        raise SettingsError(f"{FILE} {file} cannot be read ({error.strerror}); {remedy}") from error
    except (UnicodeDecodeError, configparser.Error):
        # Such an error quotes the line, which may be a secret.
        raise SettingsError(f"{FILE} {file} is not understood; {remedy}") from None
    found = dict(parser[profile()]) if parser.has_section(profile()) else {}
    if "aws_access_key_id" not in found:
        return None
    if not found["aws_access_key_id"] or not found.get("aws_secret_access_key"):
        raise SettingsError(f"{FILE} {file} has only half a key for the profile {profile()!r}; complete it")
    return AwsKeys(found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token") or None)
