"""The result cache: answers of requests that are meant to be answered alike, kept in the store, each tenant's apart.

It only ever saves work. Whatever goes wrong with it, the request runs as if there were none.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineResponse, Usage
from backburner_worker.engine.openai_answer import MAX_TOKENS
from backburner_worker.generation.cache_key import is_repeatable, request_digest
from backburner_worker.telemetry.telemetry import Telemetry

_LOOKUP_SECONDS = 2.0
"""Bounds a lookup, which a request waits for: a store that takes longer than that is in trouble."""
_WRITE_SECONDS = 30.0
_MAX_CONCURRENT_WRITES = 64
"""Answers being written to the cache; further ones are not kept meanwhile."""
_MAX_BYTES = 4 * 1024 * 1024
"""Size of the largest answer that is kept."""

log = get_logger(__name__)


class CachedAnswer(BaseModel):
    """An answer as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stored_at: float = Field(allow_inf_nan=False)
    """Unix seconds."""
    status_code: int = Field(ge=200, le=299)
    prompt_tokens: int = Field(ge=0, le=MAX_TOKENS)
    completion_tokens: int = Field(ge=0, le=MAX_TOKENS)
    body: dict[str, Any]

    def response(self) -> EngineResponse:
        """The answer as the engine returned it."""
        return EngineResponse(self.body, Usage(self.prompt_tokens, self.completion_tokens), self.status_code)


class ResultCache:
    """Answers of one pool's model. `close` it at the end."""

    def __init__(
        self,
        storage: Storage,
        *,
        pool: str,
        identity: str,
        adapters: Mapping[str, str | None],
        max_age: float,
        telemetry: Telemetry,
    ) -> None:
        """`identity` identifies what answers, see `model_identity`; `adapters` has the identity of each adapter.

        None stands for an adapter whose content is unknown: its answers are not kept.
        Answers older than `max_age` seconds are not returned.
        """
        self._storage = storage
        self._pool = pool
        self._identity = identity
        self._adapters = adapters
        self._max_age = max_age
        self._telemetry = telemetry
        self._keeping: set[asyncio.Task[None]] = set()

    def key(self, tenant: str, endpoint: Endpoint, body: dict[str, Any]) -> str | None:
        """The key of the answer to this checked body; None where it could be another one each time."""
        identity = self._adapters.get(body["model"], self._identity)
        if identity is None or not is_repeatable(endpoint, body):
            return None
        return keys.cached_answer(tenant, self._pool, request_digest(identity, endpoint, body))

    async def lookup(self, key: str) -> EngineResponse | None:
        """The answer stored there, if there is one that is valid. Raises nothing but `CancelledError`."""
        try:
            found = await self._read(key)
        except (StoreError, TimeoutError) as error:
            log.warning("reading the result cache failed; running the request", key=key, error=str(error))
            self._telemetry.cache_lookup("error")
            return None
        self._telemetry.cache_lookup("hit" if found else "miss")
        return found

    def keep(self, key: str, response: EngineResponse) -> None:
        """Write the answer there, in the background."""
        if len(self._keeping) >= _MAX_CONCURRENT_WRITES or self._storage.unavailable_reason() is not None:
            return
        task = asyncio.create_task(self._write(key, response))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def close(self) -> None:
        """Give up what is not written yet."""
        for task in self._keeping:
            task.cancel()
        if self._keeping:
            await asyncio.wait([*self._keeping])

    async def _read(self, key: str) -> EngineResponse | None:
        if self._storage.unavailable_reason() is not None:
            return None
        async with asyncio.timeout(_LOOKUP_SECONDS):
            found = await read_stored(self._storage, CachedAnswer, key, max_bytes=_MAX_BYTES)
        if found is None:
            return None
        return found.response() if self._storage.clock.now() - found.stored_at <= self._max_age else None

    async def _write(self, key: str, response: EngineResponse) -> None:
        usage = response.usage
        answer = CachedAnswer.model_construct(
            stored_at=self._storage.clock.now(),
            status_code=response.status_code,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            body=dict(response.body),
        )
        try:
            data = answer.model_dump_json().encode()
            if len(data) > _MAX_BYTES:
                return
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._storage.put(key, data)
        except (StoreError, TimeoutError, ValueError) as error:
            log.warning("writing to the result cache failed; the answer is not cached", key=key, error=str(error))
