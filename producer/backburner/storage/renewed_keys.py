"""S3 keys that may change while a process runs, as obstore asks for them: from AWS's shared file, or its own chain."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from backburner.credentials.aws import chain_keys, has_chain
from backburner.credentials.shared_file import FILE, PROFILE, AwsKeys, profile, renewed_file, shared_file
from backburner_schemas.errors import SettingsError

if TYPE_CHECKING:
    from obstore.store import S3Credential

_GOOD = timedelta(seconds=60)
"""How long obstore may use keys without a question; it asks before, with every call, which costs a `stat`."""


class RenewedKeys:
    """What obstore calls for the keys of the moment."""

    def __init__(self, keys: Callable[[], AwsKeys]) -> None:
        self._keys = keys

    def __call__(self) -> "S3Credential":
        """The keys of this moment, in obstore's form."""
        keys = self._keys()
        return {
            "access_key_id": keys.key_id,
            "secret_access_key": keys.secret,
            "token": keys.session_token,
            "expires_at": datetime.now(UTC) + _GOOD,
        }


def renewed_keys() -> RenewedKeys | None:
    """The keys of AWS's shared credentials file, or of the profile that is named; None where there is neither.

    Raises `SettingsError` for a file that is named and cannot be used.
    """
    if (keys := renewed_file("S3 keys")) is not None:
        return RenewedKeys(keys.current)
    if os.environ.get(PROFILE) and has_chain():
        return RenewedKeys(chain_keys())
    if os.environ.get(FILE) or os.environ.get(PROFILE):
        raise SettingsError(
            f"no S3 keys for the profile {profile()!r} in {shared_file() or 'any file'}; correct {PROFILE} or {FILE}, "
            "and for profiles that need AWS's own library: pip install 'backburner[sqs]'"
        )
    return None
