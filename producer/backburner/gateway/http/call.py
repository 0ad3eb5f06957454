"""What is known of a call beside what it asks for: its id, who calls, and how long it may take. Kept in its scope."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from backburner.gateway.auth.principal import Principal
from backburner.gateway.http.body import Body
from backburner.runtime.memory_budget import MemoryShare
from backburner_schemas.errors import BackburnerError


@dataclass(slots=True)
class Call:
    """One call. `front` makes it, and the handlers find it by `of`."""

    id: str
    """As `x-request-id` has it."""
    principal: Principal
    body: Body
    patience: asyncio.Timeout
    """Ends the call with a 503 when the time is over."""
    answer_seconds: float
    """How long that is."""
    memory: MemoryShare
    """What it holds of an answer, until that is sent."""
    idempotency_key: str | None = None
    """What the handler found of `Idempotency-Key`."""
    error: BackburnerError | None = None
    """What the call was answered with, if it was an error."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the access log should have beside the usual, such as the id of what was made."""

    @property
    def tenant(self) -> str:
        """Whose objects the call sees."""
        return self.principal.tenant

    def go_on(self) -> None:
        """Give the call its whole time once more: a step of it is done, and the store answers."""
        if self.patience.when() is not None:
            self.patience.reschedule(asyncio.get_running_loop().time() + self.answer_seconds)

    def take_time(self) -> None:
        """Let the call last as long as it goes on: each step of it has a bound of its own."""
        self.patience.reschedule(None)


def call_of(request: Request) -> Call:
    """The call that a request came with."""
    return of(request.scope)


def of(scope: Mapping[str, Any]) -> Call:
    """The call in an ASGI scope."""
    found = scope["state"]["call"]
    assert isinstance(found, Call)
    return found
