"""What an installation needs before its first request: pools with their topics, and the first API key.

All of it is safe to repeat and makes nothing that is there. What does not answer yet is waited for: in a cluster that
is being set up, this runs beside the broker and the store that it needs.
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from backburner.gateway.auth.api_key import ApiKey, is_secret, new_secret
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.audit_log import Action, AuditLog
from backburner.gateway.auth.principal import Principal, Scope
from backburner.kubernetes import KubernetesApi
from backburner.pools import PoolDirectory
from backburner.publishers import ensure_topics
from backburner.runtime.retrying import FailureLog, retry_until_done
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import BackburnerError, KubernetesUnavailable
from backburner_schemas.pool import PoolManifest
from backburner_schemas.routing import pool_name

DATA_KEY = "api-key"
"""What the key is called in the data of its Secret."""

_SUBJECT = "bootstrap"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PreparedPool:
    """A pool that requests can be sent to."""

    manifest: PoolManifest
    """How it is registered."""
    topics: tuple[str, ...]
    """Its topics; on SQS its queues."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The Secret that holds the first API key."""

    secret: str
    """The Secret's name."""
    namespace: str
    key: ApiKey | None
    """What is stored of the key; None where the Secret holds no text of a key's form under `api-key`."""
    is_new: bool
    """Whether the Secret was made now."""


class Bootstrap:
    """Makes what is missing."""

    def __init__(self, settings: Settings, storage: Storage, *, wait_seconds: float) -> None:
        """`wait_seconds` bounds how long all of it together waits for what does not answer yet."""
        self._settings = settings
        self._storage = storage
        self._give_up_at = time.monotonic() + wait_seconds
        self._failures = FailureLog("bootstrap: a step failed; trying again")

    async def prepare_pool(self, model: str, aliases: Sequence[str] = ()) -> PreparedPool:
        """Make the topics of the model's pool and register it, with these other names of the model.

        Raises `QueueError` and `StoreError` when the time is over, and at once `PoolConflict` and `SettingsError`.
        """
        topics = await self._insist(f"topics of {model}", partial(ensure_topics, self._settings, pool_name(model)))

        async def register() -> PoolManifest:
            directory = PoolDirectory(self._storage)
            made = await directory.register(model)
            return await directory.add_aliases(model, aliases) if aliases else made

        return PreparedPool(await self._insist(f"pool of {model}", register), tuple(topics))

    async def store_admin_key(self, cluster: KubernetesApi, secret: str) -> StoredKey:
        """Have an API key with the scope admin, of the settings' tenant, in the Secret of that name.

        The Secret comes first, and whoever creates it decides the key: of several at once, one. Then the key that it
        holds is made known to the gateway, unless it is. So a run that broke off in between is completed by the next,
        and a store that was lost knows the key again. A key that was revoked stays revoked.

        Raises `KubernetesUnavailable` and `StoreError` when the time is over, and `KubernetesRefused` at once.
        """
        namespace = cluster.namespace
        folder = f"/api/v1/namespaces/{namespace}/secrets"

        async def keep() -> tuple[dict[str, Any], bool]:
            there = await cluster.get(f"{folder}/{secret}")
            if there is not None:
                return there, False
            wanted = _manifest(secret, new_secret())
            if await cluster.create(folder, wanted):
                return wanted, True
            there = await cluster.get(f"{folder}/{secret}")
            if there is None:
                raise KubernetesUnavailable(f"the Secret {secret} was there and is gone again; run the same again")
            return there, False

        held, is_new = await self._insist(f"Secret {secret}", keep)
        text = _key_in(held)
        if text is None:
            return StoredKey(secret, namespace, None, is_new)
        known = await self._insist("API key", partial(self._make_known, text))
        return StoredKey(secret, namespace, known, is_new)

    async def _make_known(self, secret: str) -> ApiKey:
        key, is_new = await ApiKeyStore(self._storage).register(secret, self._settings.tenant, _SUBJECT, (Scope.ADMIN,))
        if is_new:
            audit = AuditLog(self._storage)
            caller = Principal(key.tenant, _SUBJECT, frozenset())
            audit.record(caller, Action.KEY_CREATED, key.id, name=key.name, scopes=" ".join(key.scopes))
            await audit.flush()
        return key

    async def _insist(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        def again(error: BaseException) -> bool:
            return isinstance(error, BackburnerError) and error.retryable and time.monotonic() < self._give_up_at

        return await retry_until_done(call, again, partial(self._failures.note, what))


def _manifest(name: str, key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": "backburner",
                "app.kubernetes.io/component": _SUBJECT,
                "app.kubernetes.io/managed-by": "backburner-bootstrap",
            },
        },
        "data": {DATA_KEY: base64.b64encode(key.encode()).decode()},
    }


def _key_in(held: dict[str, Any]) -> str | None:
    """The key that a Secret holds, which anybody may have written."""
    data = held.get("data")
    encoded = data.get(DATA_KEY) if isinstance(data, dict) else None
    if not isinstance(encoded, str):
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        return None
    return text if is_secret(text) else None
