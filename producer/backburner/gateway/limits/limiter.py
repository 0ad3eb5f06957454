"""The port between what callers do and how much of it they may."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

from backburner.gateway.auth.principal import Principal


class Limiter(Protocol):
    """Holds callers to their quotas. Each verb raises `RateLimited`, and nothing was counted then.

    The error's `retry_after` is for the header Retry-After. `StoreError` where the store has to be asked and is away.
    """

    async def request(self, principal: Principal) -> Mapping[str, str]:
        """Count a request; returns the `x-ratelimit-…` headers of its answer, none where nothing is limited."""
        ...

    def uploading(self, principal: Principal) -> AbstractAsyncContextManager[None]:
        """Count an upload while the block lasts."""
        ...

    async def store(self, principal: Principal, size: int, *, announced: bool = False) -> None:
        """Ask, before so many bytes of a file are kept, whether the tenant may store as much.

        `announced`: they come with later calls, which ask again, so that nothing is counted now.
        """
        ...

    async def queue(self, principal: Principal, requests: int, tokens: int, *, job: bool = True) -> None:
        """Ask, before a job or an async request is accepted, whether as much may wait.

        `tokens` is an estimate of prompts and answers together. `job` False: a single request, which is no job.
        """
        ...


class Unlimited:
    """A limiter that lets everything pass."""

    async def request(self, principal: Principal) -> Mapping[str, str]:
        """No headers."""
        del principal
        return {}

    def uploading(self, principal: Principal) -> AbstractAsyncContextManager[None]:
        """Counts nothing."""
        del principal
        return nullcontext()

    async def store(self, principal: Principal, size: int, *, announced: bool = False) -> None:
        """Never raises."""

    async def queue(self, principal: Principal, requests: int, tokens: int, *, job: bool = True) -> None:
        """Never raises."""
