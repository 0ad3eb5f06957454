"""An issuer's public keys, as its key set lists them. Pure; what no signature may rest on is left out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from backburner.gateway.auth.token_policy import is_key_id

MAX_KEYS = 100
"""In a set; issuers have two to ten."""

_MIN_RSA_BITS = 2_048
_MAX_RSA_BITS = 8_192
"""A larger one would take long at each token."""
_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDWARDS = frozenset({"EdDSA", "Ed25519"})
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithms that a signature by it may have."""

    key_id: str | None
    algorithms: frozenset[str]
    key: Key


class SigningKeys:
    """The keys of an issuer."""

    def __init__(self, found: Sequence[SigningKey] = ()) -> None:
        self._keys = tuple(found)

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def parse(cls, data: bytes) -> "SigningKeys":
        """The keys in a JSON Web Key Set that can check signatures. Raises `ValueError` for what is no such set."""
        try:
            document = json.loads(data)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("it has no list of keys")  # noqa: TRY004 - it is the bytes that are wrong
        if len(listed) > MAX_KEYS:
            raise ValueError(f"it has {len(listed)} keys; at most {MAX_KEYS} are read")
        return cls([key for one in listed if isinstance(one, dict) and (key := _signing_key(one)) is not None])

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key with that id, for that algorithm; without an id the only one for it. None if there is none."""
        fitting = [one for one in self._keys if algorithm in one.algorithms]
        if key_id is None:
            return fitting[0].key if len(fitting) == 1 else None
        return next((one.key for one in fitting if one.key_id == key_id), None)


def _signing_key(found: Mapping[str, Any]) -> SigningKey | None:
    key_id, declared, operations = found.get("kid"), found.get("alg"), found.get("key_ops", ["verify"])
    # The rest of it, such as certificates, is nobody's concern here.
    members = {name: found[name] for name in _MEMBERS if name in found}
    if (
        (key_id is not None and not is_key_id(key_id))
        or found.get("use", "sig") != "sig"
        or not (declared is None or isinstance(declared, str))
        or not (isinstance(operations, list) and "verify" in operations)
        or _SECRET_MEMBERS & found.keys()
        or not all(isinstance(one, str) for one in members.values())
    ):
        return None
    try:
        key = import_key(members)
        able = _algorithms_of(key)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if declared is not None:
        able = frozenset(one for one in able if one == declared or {one, declared} == _EDWARDS)
    return SigningKey(key_id, able, key) if able else None


def _algorithms_of(key: Key) -> frozenset[str]:
    if isinstance(key, RSAKey):
        return _RSA if _MIN_RSA_BITS <= key.raw_value.key_size <= _MAX_RSA_BITS else frozenset()
    if isinstance(key, ECKey):
        return frozenset({_CURVES[key.curve_name]} if key.curve_name in _CURVES else ())
    return _EDWARDS if isinstance(key, OKPKey) and key["crv"] == "Ed25519" else frozenset()
