"""Users and passwords in addresses: refused, since they would stand in every error and log line that names one."""

import re

from backburner_schemas.errors import SettingsError

_USER = re.compile(r"(?<=://)\S*@")
"""To the last @ of all: a password that was not encoded may hold any character."""


def shown(address: str) -> str:
    """The address as an error may have it: without what may be a user and a password."""
    return _USER.sub("…@", address)


def check_no_user(variable: str, address: str, remedy: str) -> None:
    """Raise `SettingsError` if the address has a user before its host; `remedy` says where one belongs."""
    _, _, rest = address.partition("://")
    if "@" in rest.partition("/")[0]:
        raise SettingsError(f"{variable} {shown(address)!r} holds a user or password; {remedy}")
