"""The Authorization header, taken apart: one bearer credential, of a bounded length."""

import re

from backburner.gateway.auth.refusal import Reason, Refused

MAX_CREDENTIAL_CHARACTERS = 8_192
"""Tokens of common issuers have 1,000 to 3,000."""

_BEARER = re.compile(r"(?i:bearer) {1,8}([A-Za-z0-9._~+/-]+=*)")
_SCHEME_CHARACTERS = 16


def credential_of(authorization: str | None) -> str | None:
    """What stands behind `Bearer`; None where there is no header. Raises `Refused`."""
    if authorization is None:
        return None
    if len(authorization) > MAX_CREDENTIAL_CHARACTERS + _SCHEME_CHARACTERS:
        raise Refused(Reason.MALFORMED, "the Authorization header is too long; send one API key or token")
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise Refused(Reason.MALFORMED, "the Authorization header is not understood; send it as 'Bearer …'")
    return found[1]
