"""What an API key is: its text, which only its owner has, and what is stored of it. Pure."""

import hashlib
import re
import secrets
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

from backburner.gateway.auth.principal import Principal, Scope
from backburner_schemas.envelope import Name, UnixSeconds

PREFIX = "bb-"
MAX_NAME_CHARACTERS = 64

_SECRET_BYTES = 32
_SHOWN_CHARACTERS = len(PREFIX) + 6
_ID_CHARACTERS = 20
"""Hexadecimal digits of the hash in a key's id: 80 bits, which tell keys apart and nothing about one."""
_SECRET = re.compile(r"bb-[A-Za-z0-9_-]{43}")
_ID = re.compile(rf"key_([0-9a-f]{{{_ID_CHARACTERS}}})")


class ApiKey(BaseModel):
    """An API key as it is stored: everything but the key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    id: Annotated[str, Field(pattern=_ID.pattern)]
    """Part of the key's hash."""
    tenant: Name
    name: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
    """What its owner calls it."""
    prefix: Annotated[str, Field(max_length=_SHOWN_CHARACTERS)]
    """How the key begins, to recognize it by."""
    scopes: Annotated[tuple[str, ...], FailFast()]
    """Those that this version does not know give nothing."""
    created_at: UnixSeconds
    expires_at: UnixSeconds | None = None
    revoked_at: UnixSeconds | None = None

    @cached_property
    def principal(self) -> Principal:
        """The caller that the key stands for."""
        known = frozenset(scope for scope in Scope if scope in self.scopes)
        return Principal(self.tenant, self.id, known, self.id)


def new_secret() -> str:
    """A key that nobody can guess: 256 random bits behind `bb-`."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def is_secret(text: str) -> bool:
    """Whether a text has the form of a key."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """The key's SHA-256, in hexadecimal: all that is stored of it. A key is random, so that no salt is needed.

    Looked up by this, a key takes no longer the more of it was guessed.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def id_of(digest: str) -> str:
    """The id of the key with that hash."""
    return f"key_{digest[:_ID_CHARACTERS]}"


def shown(secret: str) -> str:
    """How the key begins."""
    return secret[:_SHOWN_CHARACTERS]


def digest_prefix(key_id: str) -> str | None:
    """How the hash of the key with that id begins; None for what is no id."""
    found = _ID.fullmatch(key_id)
    return found[1] if found else None
