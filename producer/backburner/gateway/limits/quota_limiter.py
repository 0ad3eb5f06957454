"""Holds callers to the quotas of a file: rates by counters of this process, levels by what the object store has.

A rate and the uploads at a time are counted by each replica for itself; told how many there are, each gives its part.
Levels (jobs, queued requests and tokens, stored bytes) are the same for all replicas, and some seconds old: so much
more than the quota may get in as comes within these seconds.
"""

import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from backburner.gateway.auth.principal import Principal
from backburner.gateway.limits.level_reader import LevelReader
from backburner.gateway.limits.levels import Amount
from backburner.gateway.limits.remembered_levels import FRESH_SECONDS, RememberedLevels
from backburner.quotas import Quota, QuotasFile, Rate, TenantQuota
from backburner_schemas.errors import QuotaExceeded, RateLimited

_UPLOAD_RETRY_SECONDS = 5.0
_QUEUE_RETRY_SECONDS = 30.0
_STORE_RETRY_SECONDS = 60.0


class QuotaLimiter:
    """Holds callers to their quotas."""

    def __init__(
        self,
        quotas: QuotasFile,
        levels: LevelReader,
        *,
        replicas: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quotas = quotas
        self._replicas = replicas
        self._rates = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._uploads: Counter[tuple[str, ...]] = Counter()
        self._waiting = RememberedLevels(levels.waiting, clock)
        self._stored = RememberedLevels(levels.stored, clock)

    async def request(self, principal: Principal) -> Mapping[str, str]:
        """Count a request; returns the `x-ratelimit-…` headers of its answer, none where nothing is limited."""
        quota, own = self._of(principal)
        counted: list[tuple[RateLimitItem, tuple[str, ...]]] = [
            (_item(rate, self._replicas), name)
            for rate, name in ((quota.requests, (principal.tenant,)), (own.requests, _caller(principal)))
            if rate is not None
        ]
        # No await in between: what one request was promised no other gets.
        refused = next((one for one in counted if not self._rates.test(one[0], *one[1])), None)
        if refused is None:
            for item, name in counted:
                self._rates.hit(item, *name)
        headers = self._rate_headers(counted) | self._token_headers(principal, quota)
        if refused is not None:
            wait = max(0.001, self._rates.get_window_stats(refused[0], *refused[1]).reset_time - time.time())
            raise RateLimited(
                f"more than {refused[0].amount} requests in {refused[0].get_expiry()} s; slow down",
                retry_after=wait,
                headers=headers,
            )
        return headers

    @asynccontextmanager
    async def uploading(self, principal: Principal) -> AsyncIterator[None]:
        """Count an upload while the block lasts."""
        quota, own = self._of(principal)
        names = ((principal.tenant,), _caller(principal))
        for limit, name in zip((quota.concurrent_uploads, own.concurrent_uploads), names, strict=True):
            if limit is not None and self._uploads[name] >= _part(limit, self._replicas):
                raise RateLimited(
                    f"more than {limit} uploads at a time; wait until one is done", retry_after=_UPLOAD_RETRY_SECONDS
                )
        self._uploads.update(names)
        try:
            yield
        finally:
            for name in names:
                self._uploads[name] -= 1
                if not self._uploads[name]:
                    del self._uploads[name]

    async def store(self, principal: Principal, size: int, *, announced: bool = False) -> None:
        """Ask, before so many bytes of a file are kept, whether the tenant may store as much."""
        limit = self._quotas.current.of(principal.tenant).stored_bytes
        if limit is None:
            return
        known = await self._stored.of(principal.tenant)
        kept = known.now.whole.stored_bytes
        if kept + size > limit:
            raise QuotaExceeded(
                f"the tenant keeps {kept:,} bytes, and {size:,} more would be over its quota of {limit:,}; "
                "delete files that are not needed",
                retry_after=_STORE_RETRY_SECONDS,
            )
        if not announced:
            known.add(None, Amount(stored_bytes=size))

    async def queue(self, principal: Principal, requests: int, tokens: int, *, job: bool = True) -> None:
        """Ask, before a job or an async request is accepted, whether as much may wait."""
        quota, own = self._of(principal)
        if not (_limits_waiting(quota) or _limits_waiting(own)):
            return
        known = await self._waiting.of(principal.tenant)
        more = Amount(int(job), requests, tokens)
        _check(quota, known.now.whole, more, "the tenant")
        _check(own, known.now.of_caller(principal.subject), more, "this API key or token")
        known.add(principal.subject, more)

    def _of(self, principal: Principal) -> tuple[TenantQuota, Quota]:
        quota = self._quotas.current.of(principal.tenant)
        return quota, quota.of_caller(principal.subject)

    def _rate_headers(self, counted: list[tuple[RateLimitItem, tuple[str, ...]]]) -> dict[str, str]:
        """Those of the limit that will be reached first."""
        if not counted:
            return {}
        stats = [(self._rates.get_window_stats(item, *name), item.amount) for item, name in counted]
        (reset_time, remaining), amount = min(stats, key=lambda one: one[0].remaining)
        return {
            "x-ratelimit-limit-requests": f"{amount}",
            "x-ratelimit-remaining-requests": f"{remaining}",
            "x-ratelimit-reset-requests": duration_text(max(0.0, reset_time - time.time())),
        }

    def _token_headers(self, principal: Principal, quota: TenantQuota) -> dict[str, str]:
        """Those of the queued tokens, where their level is known: no request waits for it to be read."""
        known = self._waiting.known(principal.tenant)
        if quota.queued_tokens is None or known is None:
            return {}
        queued = known.now.whole.tokens
        return {
            "x-ratelimit-limit-tokens": f"{quota.queued_tokens}",
            "x-ratelimit-remaining-tokens": f"{max(0, quota.queued_tokens - queued)}",
            "x-ratelimit-reset-tokens": duration_text(FRESH_SECONDS if queued else 0.0),
        }


def _caller(principal: Principal) -> tuple[str, str]:
    return principal.tenant, principal.subject


def _part(limit: int, replicas: int) -> int:
    """What one of so many replicas gives of a limit, rounded up, so that it gives something."""
    return -(-limit // replicas)


@functools.lru_cache(maxsize=1024)
def _item(rate: Rate, replicas: int) -> RateLimitItem:
    return RateLimitItemPerSecond(_part(rate.amount, replicas), rate.seconds)


def _limits_waiting(quota: Quota) -> bool:
    return any(limit is not None for limit in (quota.jobs, quota.queued_requests, quota.queued_tokens))


def _check(quota: Quota, waits: Amount, more: Amount, whose: str) -> None:
    """Raise `QuotaExceeded` where more would be over the quota."""
    for limit, before, added, what in (
        (quota.jobs, waits.jobs, more.jobs, "batches that have not ended"),
        (quota.queued_requests, waits.requests, more.requests, "requests without an answer"),
        (quota.queued_tokens, waits.tokens, more.tokens, "tokens of such requests"),
    ):
        if limit is not None and added and before + added > limit:
            raise QuotaExceeded(
                f"{whose} has {before:,} {what}, and {added:,} more would be over the quota of {limit:,}; "
                "wait until some are done",
                retry_after=_QUEUE_RETRY_SECONDS,
            )


def duration_text(seconds: float) -> str:
    """A duration as OpenAI's headers have it: `120ms`, `1s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if whole >= 60 else "") + f"{whole % 60}s"  # noqa: PLR2004
