"""AWS's own variables where they come from a file rather than the process's environment: a stack's keys and region."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from backburner_schemas.errors import SettingsError

_KEY_ID, _SECRET, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class AwsVariables:
    """A key of AWS's kind, and a region."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None

    @classmethod
    def among(cls, variables: Mapping[str, str]) -> Self | None:
        """Those of the variables; None if there is no key among them. Raises `SettingsError` for half a key."""
        key_id, secret = variables.get(_KEY_ID), variables.get(_SECRET)
        if not key_id and not secret:
            return None
        if not key_id or not secret:
            raise SettingsError(f"{_KEY_ID} and {_SECRET} belong together, and only one is set; set both, or neither")
        region = next((value for name in _REGIONS if (value := variables.get(name))), None)
        return cls(key_id, secret, variables.get(_TOKEN) or None, region)
