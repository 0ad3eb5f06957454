"""From a verdict to an outcome: the body fetched and checked, the engine run, every failure turned into a record."""

import asyncio
import hashlib
import random
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.codec import parse_body
from backburner_schemas.envelope import Address, Envelope
from backburner_schemas.errors import (
    BackburnerError,
    EngineError,
    EngineLost,
    Expired,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
)
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.request import check_body
from backburner_schemas.result import ResultFacts, encode_response, error_record, record_id
from backburner_schemas.segment import Line
from backburner_worker.engine.base import Engine, EngineInfo, EngineRequest, EngineResponse
from backburner_worker.generation.cache import ResultCache
from backburner_worker.generation.running_request import Generation
from backburner_worker.outcome import Outcome
from backburner_worker.policy import Complete, DeadLettered, End, Retry, RetryRules, Run, after_failure
from backburner_worker.process.telemetry import Telemetry
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_parameters
from backburner_worker.settlement.until_stored import STOPS_THE_WORKER, asked_to_end, until_stored
from backburner_worker.sources.base import Delivery

_SALTS = 1024
"""Tenants whose salts are remembered."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who answered: goes into every record and every dead letter."""

    pool: str
    worker: str
    group: str
    version: str


class Generator:
    """Turns deliveries into outcomes.

    `outcome` raises nothing but `EngineLost` and, where a body cannot be read, `StoreDenied` and `StoreFull`: whatever
    else goes wrong is the outcome. Cancelling it aborts the generation.
    """

    def __init__(
        self,
        engine: Engine,
        info: EngineInfo,
        storage: Storage,
        signature: Signature,
        limits: BodyLimits,
        *,
        rules: RetryRules,
        allowed: frozenset[str],
        max_body_bytes: int,
        log_prompts: bool,
        telemetry: Telemetry,
        cache: ResultCache | None = None,
    ) -> None:
        self._engine = engine
        self._models = frozenset((*info.models, *info.adapters))
        self._endpoints = info.endpoints
        self._storage = storage
        self._signature = signature
        self._limits = limits
        self._rules = rules
        self._allowed = allowed
        self._max_body_bytes = max_body_bytes
        self._log_prompts = log_prompts
        self._telemetry = telemetry
        self._cache = cache
        # The engine's prefix cache lives in this process, and so can the key.
        self._salt_key = secrets.token_bytes(32)
        self._salt = lru_cache(_SALTS)(self._make_salt)

    @property
    def engine_lost(self) -> bool:
        """Whether the engine has died."""
        return self._engine.lost

    async def outcome(self, generation: Generation) -> Outcome | Retry:
        """What became of the delivery after it was run."""
        try:
            return await self._answer(generation)
        except (EngineLost, *STOPS_THE_WORKER):
            raise
        except asyncio.CancelledError:
            if asked_to_end():
                raise
            return self._after(generation, GenerationAborted())
        except BackburnerError as error:
            return self._after(generation, error)
        except Exception as error:
            # A body that breaks the engine's own code is one request's trouble, not the worker's.
            log.exception("the engine failed in a way of its own", **_where(generation.run.envelope.address))
            return self._after(generation, EngineError(f"the engine failed: {type(error).__name__}"))

    def _after(self, generation: Generation, failure: BackburnerError) -> Outcome | Retry:
        """What becomes of the delivery after that. A frame that keeps its own error would keep the body with it."""
        delivery = generation.delivery
        # The chance spreads retries; it hides nothing.
        chance = random.random()  # noqa: S311
        verdict = after_failure(
            generation.run, failure, delivery.facts, now=time.time(), rules=self._rules, chance=chance
        )
        if isinstance(verdict, Retry):
            log.info("request is retried", code=verdict.code, error=failure.message, **_where(verdict.envelope.address))
            return verdict
        return self.ended(delivery, verdict)

    def ended(self, delivery: Delivery, verdict: End) -> Outcome:
        """The outcome of a delivery that ends without an answer."""
        if isinstance(verdict, Complete):
            return self._failed(delivery, verdict)
        if isinstance(verdict, DeadLettered):
            return self._dead(delivery, verdict)
        return Outcome()

    async def _answer(self, generation: Generation) -> Outcome:
        delivery, run = generation.delivery, generation.run
        envelope = run.envelope
        body = envelope.body if envelope.body is not None else await self._fetch(envelope)
        if body["model"] not in self._models:
            served = ", ".join(sorted(self._models))
            raise ModelNotFound(f"this pool serves {served}, not {str(body['model'])[:100]!r}", param="model")
        if envelope.url not in self._endpoints:
            served = ", ".join(sorted(self._endpoints))
            raise RequestRefused(f"the model answers {served}, not {envelope.url}", param="url")
        body = check_parameters(envelope.url, body, allowed_extra=self._allowed, limits=self._limits)
        address = envelope.address
        if self._log_prompts:
            log.info("request", url=envelope.url, body=body, **_where(address))
        request_id = record_id(address)
        cache = self._cache
        cache_key = cache.key(address.tenant, envelope.url, body) if cache is not None else None
        if cache is not None and cache_key is not None and (found := await cache.look(cache_key)) is not None:
            facts = self._facts(delivery, address, queue_s=_since(envelope.enqueued_at, time.time()), cached=True)
            return _answered(run, request_id, found, facts)
        if self._engine.lost:
            raise EngineLost
        started_at, started = time.time(), time.monotonic()
        if started_at > run.deadline:
            # Since it was judged, the queue or the store may have been away.
            raise Expired
        generation.entered = True
        response = await self._engine.run(EngineRequest(request_id, envelope.url, body, self._salt(address.tenant)))
        engine_s = time.monotonic() - started
        queue_s = _since(envelope.enqueued_at, started_at)
        generation.work.expected.came(response.usage)
        self._telemetry.answered(queue_s, engine_s, response.usage.prompt_tokens, response.usage.completion_tokens)
        facts = self._facts(delivery, address, queue_s=queue_s, engine_s=round(engine_s, 3))
        if cache is not None and cache_key is not None:
            cache.keep(cache_key, response)
        return _answered(run, request_id, response, facts, engine_s)

    def _make_salt(self, tenant: str) -> str:
        """Keeps tenants' prompts apart in the engine's prefix cache, so that none can time what another has asked."""
        return hashlib.blake2b(tenant.encode(), key=self._salt_key, digest_size=16).hexdigest()

    async def _fetch(self, envelope: Envelope) -> dict[str, Any]:
        """The body that a claim check stands for."""
        key = envelope.body_ref or ""
        stored = await until_stored(lambda: self._storage.get(key), "read a body")
        if stored is None:
            raise RequestRefused(f"there is no body at {key}; store it before the envelope is sent", param="body_ref")
        body = parse_body(stored.data, self._max_body_bytes)
        check_body(envelope.url, body)
        return body

    def _failed(self, delivery: Delivery, verdict: Complete) -> Outcome:
        log.info("request failed", code=verdict.error.code, error=verdict.error.message, **_where(verdict.address))
        facts = ResultFacts.model_construct(**self._facts(delivery, verdict.address))
        return Outcome.error(verdict.address, error_record(verdict.address, verdict.error, facts), verdict.answer)

    def _dead(self, delivery: Delivery, verdict: DeadLettered) -> Outcome:
        letter = StoredDeadLetter.of(
            verdict.error,
            origin=delivery.origin,
            facts=delivery.facts,
            worker=self._signature.worker,
            now=time.time(),
            envelope=delivery.message if isinstance(delivery.message, Envelope) else None,
            raw=delivery.raw,
        )
        address = verdict.address
        if address is None:
            key = keys.unaddressed_letter(delivery.origin.queue, delivery.origin.position)
            log.warning("dead letter", code=letter.code, error=letter.message, key=key)
            return Outcome.dead(letter, key)
        key = keys.dead_letter(address.tenant, address.job, address.index)
        log.warning("dead letter", code=letter.code, error=letter.message, key=key, **_where(address))
        facts = ResultFacts.model_construct(**self._facts(delivery, address))
        return Outcome.dead(letter, key, address, error_record(address, verdict.error, facts), verdict.answer)

    def _facts(
        self,
        delivery: Delivery,
        address: Address,
        *,
        queue_s: float | None = None,
        engine_s: float | None = None,
        cached: bool = False,
    ) -> dict[str, Any]:
        """The fields of `ResultFacts`."""
        signature = self._signature
        return {
            "index": address.index,
            "attempt": delivery.facts.attempt,
            "pool": signature.pool,
            "worker": signature.worker,
            "group": signature.group,
            "version": signature.version,
            "queue_s": queue_s,
            "engine_s": engine_s,
            "cached": cached,
        }


def _answered(
    run: Run, identity: str, response: EngineResponse, facts: dict[str, Any], engine_s: float = 0.0
) -> Outcome:
    """The outcome of a request that has its response; `identity` is its record's."""
    address, usage = run.envelope.address, response.usage
    # Here, where a body that cannot be written is this request's trouble alone.
    data = encode_response(identity, address.custom_id, response.status_code, response.body, facts)
    line = Line(address.index, data, None, usage.prompt_tokens, usage.completion_tokens, engine_s)
    return Outcome("response", "", address, line, run.answer)


def _since(enqueued_at: float, now: float) -> float | None:
    """Seconds in the queue; a producer that tells no time gets none."""
    return round(max(now - enqueued_at, 0.0), 3) if enqueued_at else None


def _where(address: Address) -> dict[str, object]:
    return {"tenant": address.tenant, "job": address.job, "index": address.index}
