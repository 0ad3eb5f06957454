"""Handles one request: its body fetched and checked, answered from the result cache or the engine, its record created.

Failures are raised; the runner decides what follows from them.
"""

import asyncio
import hashlib
import math
import secrets
import time
from functools import lru_cache
from typing import Any

from backburner.logs import get_logger
from backburner.runtime.memory_budget import MemoryBudget, MemoryShare
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner_schemas.codec import parse_body
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import EngineLost, Expired, RequestRefused
from backburner_schemas.request import check_body
from backburner_schemas.result import record_id
from backburner_worker.admission.trial_sizes import TrialSizes
from backburner_worker.engine.base import Engine, EngineInfo, EngineRequest
from backburner_worker.generation.cache import ResultCache
from backburner_worker.generation.model_names import ModelNames
from backburner_worker.generation.running_request import RunningRequest
from backburner_worker.generation.time_limit import TimeLimit
from backburner_worker.outcome import Outcome, Signature
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_parameters
from backburner_worker.scheduling.weight import weight
from backburner_worker.telemetry.telemetry import Telemetry

_MAX_SALTS = 1024
"""Tenants whose salts are remembered."""

log = get_logger(__name__)


class RequestHandler:
    """Gets the response to a request that runs."""

    def __init__(
        self,
        engine: Engine,
        info: EngineInfo,
        storage: Storage,
        signature: Signature,
        limits: BodyLimits,
        *,
        names: ModelNames,
        allowed: frozenset[str],
        max_body_bytes: int,
        log_prompts: bool,
        telemetry: Telemetry,
        limit: TimeLimit,
        sizes: TrialSizes,
        stored_bodies: MemoryBudget,
        cache: ResultCache | None = None,
    ) -> None:
        """`limit` and `sizes` learn how long answers take; `stored_bodies` bounds the memory for fetched bodies."""
        self._engine = engine
        self._names = names
        self._endpoints = info.endpoints
        self._storage = storage
        self._signature = signature
        self._limits = limits
        self._allowed = allowed
        self._max_body_bytes = max_body_bytes
        self._log_prompts = log_prompts
        self._telemetry = telemetry
        self._limit = limit
        self._sizes = sizes
        self._stored_bodies = stored_bodies
        self._cache = cache
        # The engine's prefix cache lives in this process, and so can the key.
        self._salt_key = secrets.token_bytes(32)
        self._salt = lru_cache(_MAX_SALTS)(self._make_salt)

    async def respond(self, request: RunningRequest) -> Outcome:
        """The outcome of a request that has its response.

        Raises `EngineLost`, `StoreDenied` and `StoreFull`, which end the worker; any other error is the request's own.
        Cancelling it aborts the request in the engine.
        """
        envelope = request.run.envelope
        if envelope.body is not None:
            return await self._answered(request, envelope.body)
        with self._stored_bodies.share() as share:
            return await self._answered(request, await self._fetch(envelope, share))

    async def _answered(self, request: RunningRequest, body: dict[str, Any]) -> Outcome:
        delivery, run = request.delivery, request.run
        envelope = run.envelope
        requested = body["model"]
        model = await self._names.resolve(requested)
        alias = None
        if model != requested:
            alias, body = requested, {**body, "model": model}
        if envelope.url not in self._endpoints:
            served = ", ".join(sorted(self._endpoints))
            raise RequestRefused(f"the model answers {served}, not {envelope.url}", param="url")
        body = check_parameters(envelope.url, body, allowed_extra=self._allowed, limits=self._limits)
        address = envelope.address
        if self._log_prompts:
            log.info("request", url=envelope.url, body=body, **request.where)
        request_id = record_id(address)
        cache = self._cache
        cache_key = cache.key(address.tenant, envelope.url, body) if cache is not None else None
        if cache is not None and cache_key is not None and (found := await cache.lookup(cache_key)) is not None:
            facts = self._signature.facts(
                delivery,
                address,
                queue_s=_since(envelope.enqueued_at, self._storage.clock.now()),
                cached=True,
                model=model,
                requested_model=alias,
            )
            return Outcome.response(run, request_id, found, facts)
        if self._engine.lost:
            raise EngineLost
        clock = self._storage.clock
        started_at, started, left = clock.now(), time.monotonic(), run.deadline - clock.trusted_now()
        if left < 0:
            # Since it was judged, the queue or the store may have been away.
            raise Expired
        request.entered_at, request.body = started, body
        deadline = None if left == math.inf else asyncio.get_running_loop().time() + left
        response = await self._engine.run(
            EngineRequest(request_id, envelope.url, body, self._salt(address.tenant), deadline)
        )
        engine_s = time.monotonic() - started
        queue_s = _since(envelope.enqueued_at, started_at)
        request.work.estimate.learn(response.usage)
        self._limit.learn(response.usage.completion_tokens, engine_s)
        self._sizes.learn(engine_s)
        self._telemetry.answered(queue_s, engine_s, response.usage.prompt_tokens, response.usage.completion_tokens)
        facts = self._signature.facts(
            delivery, address, queue_s=queue_s, engine_s=round(engine_s, 3), model=model, requested_model=alias
        )
        if cache is not None and cache_key is not None:
            cache.keep(cache_key, response)
        return Outcome.response(run, request_id, response, facts, engine_s)

    def _make_salt(self, tenant: str) -> str:
        """A salt that keeps tenants apart in the engine's prefix cache, so that none can time what another asked."""
        return hashlib.blake2b(tenant.encode(), key=self._salt_key, digest_size=16).hexdigest()

    async def _fetch(self, envelope: Envelope, share: MemoryShare) -> dict[str, Any]:
        """The body that a claim check stands for, once there is memory for it."""
        key = envelope.body_ref or ""
        # As large as any may be: its size would be another question to the store.
        await share.take(self._max_body_bytes)
        # One byte more than it may have, whatever it has: who may write there may write any number of them.
        data = await until_stored(lambda: self._storage.head(key, self._max_body_bytes + 1), "read a body")
        if data is None:
            raise RequestRefused(f"no body is stored at {key}; store it before sending the envelope", param="body_ref")
        body = parse_body(data, self._max_body_bytes)
        check_body(envelope.url, body)
        share.settle(weight(data, body))
        return body


def _since(enqueued_at: float, now: float) -> float | None:
    """Seconds in the queue; None where the producer sent no time."""
    return round(max(now - enqueued_at, 0.0), 3) if enqueued_at else None
