"""Ids of single requests, signed, so that one that was never given out is told without a look at the store. Pure."""

import hashlib
import hmac
import re
import time

from backburner_schemas import keys

_ID = re.compile(rf"{keys.SINGLE}([0-9a-hjkmnp-tv-z]{{18}})([0-9a-hjkmnp-tv-z]{{8}})")
_SIGNATURE_CHARACTERS = 8
"""40 bits: whoever guesses asks the store for nothing but an object that is not there."""
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT_OF_BYTE = _DIGITS.encode() * 8


class RequestIds:
    """Makes ids, and tells those that it made: for the same tenant, with the same key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def new(self, tenant: str, now: float | None = None) -> str:
        """The id of a request that is made now: the time, what is random, and a signature of both."""
        ulid = keys.new_ulid(time.time() if now is None else now)[:-_SIGNATURE_CHARACTERS]
        return f"{keys.SINGLE}{ulid}{self._signature(tenant, ulid)}"

    def gave_out(self, tenant: str, request_id: str) -> bool:
        """Whether the tenant got that id."""
        found = _ID.fullmatch(request_id)
        return found is not None and hmac.compare_digest(found[2], self._signature(tenant, found[1]))

    def _signature(self, tenant: str, ulid: str) -> str:
        # A third of the time that an HMAC takes.
        digest = hashlib.blake2b(f"{tenant}/{ulid}".encode(), key=self._key, digest_size=_SIGNATURE_CHARACTERS).digest()
        return digest.translate(_DIGIT_OF_BYTE).decode()


def made_at(request_id: str) -> int:
    """Unix seconds at which a request with this id was made. Only for ids that were given out."""
    milliseconds = 0
    for digit in request_id[len(keys.SINGLE) :][:10]:
        milliseconds = milliseconds * 32 + _DIGITS.index(digit)
    return milliseconds // 1000
