"""What every call passes before its handler, and every answer after it: id, checks, caller, limits, bounds, log.

Pure ASGI, so that bodies stream through it in both directions.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

from starlette.types import ASGIApp

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.auth.audit_log import AuditLog
from backburner.gateway.auth.authenticator import Authenticator
from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.http.body import Body, CallerGone
from backburner.gateway.http.call import Call
from backburner.gateway.http.errors import InternalFailure, error_response
from backburner.gateway.http.head import Head
from backburner.gateway.limits.limiter import Limiter
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.logs import EventLog, get_logger
from backburner_schemas.errors import BackburnerError, Overloaded, QueueError, RateLimited, StoreError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DEFAULT_BODY_BYTES = 1024 * 1024
"""Bytes of a body where the handler says nothing else."""
PUBLIC_PATHS = frozenset({"/openapi.json"})
"""What needs no caller."""
_READING = frozenset({"GET", "HEAD"})
_MAX_LOGGED_CHARACTERS = 200
_GONE_STATUS, _BROKEN_STATUS = 499, 500

log = get_logger(__name__)


class Front:
    """Stands before the application. Whatever goes wrong behind it, the caller gets an answer in OpenAI's form."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        limiter: Limiter,
        audit: AuditLog,
        telemetry: GatewayTelemetry,
        answer_seconds: float,
        max_calls: int,
        memory: AnswerMemory,
    ) -> None:
        """`memory` is what counts the answers that are held."""
        self._app = app
        self._authenticator = authenticator
        self._limiter = limiter
        self._audit = audit
        self._telemetry = telemetry
        self._answer_seconds = answer_seconds
        self._max_calls = max_calls
        self._memory = memory
        self._access = EventLog(__name__, "call")
        self._under_way = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, f"req_{secrets.token_hex(16)}")
        begun = time.monotonic()
        call: Call | None = None
        try:
            with self._telemetry.in_flight():
                async with asyncio.timeout(self._answer_seconds) as patience:
                    call = await self._admit(scope, receive, answer, patience)
                    with self._place(), call.memory:
                        answer.headers |= await self._limits(scope, call)
                        await self._app(scope, call.body.receive, answer.send)
        except BackburnerError as error:
            await self._tell(scope, answer, error)
        except TimeoutError:
            await self._tell(scope, answer, StoreError("store or queue did not answer in time"))
        except CallerGone:
            answer.gone = True
        except Exception as error:
            if isinstance(error.__cause__, BackburnerError):
                # Starlette hides in an error of its own what ends an answer that has begun.
                await self._tell(scope, answer, error.__cause__)
            else:
                # A bug; its text may hold what is nobody's business.
                log.exception("serving a call failed", request_id=answer.id, path=_path(scope))
                await self._tell(scope, answer, InternalFailure())
        finally:
            self._note(scope, answer, call, time.monotonic() - begun)

    async def _admit(
        self, scope: MutableMapping[str, Any], receive: Receive, answer: "_Answer", patience: asyncio.Timeout
    ) -> Call:
        """The call, once all is right with its head and its caller."""
        head = Head(scope)
        head.check()
        body = Body(receive, head.content_length, DEFAULT_BODY_BYTES)
        caller = await self._caller(scope, head)
        call = Call(answer.id, caller, body, patience, self._answer_seconds, self._memory.of(caller.tenant).share())
        scope.setdefault("state", {})["call"] = call
        return call

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for calls, taken by callers that are known: junk keys must not fill them."""
        if self._under_way >= self._max_calls:
            raise Overloaded
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _caller(self, scope: MutableMapping[str, Any], head: Head) -> Principal:
        if scope["path"] in PUBLIC_PATHS:
            return _NOBODY
        principal = await self._authenticator.authenticate(head.text(b"authorization"))
        if principal.is_anonymous:
            head.check_local()
        needed = Scope.READ if scope["method"] in _READING else Scope.WRITE
        if not principal.allows(needed):
            self._audit.denied(principal, needed)
        principal.require(needed)
        return principal

    async def _limits(self, scope: MutableMapping[str, Any], call: Call) -> dict[str, str]:
        if scope["path"] in PUBLIC_PATHS:
            return {}
        return dict(await self._limiter.request(call.principal))

    async def _tell(self, scope: MutableMapping[str, Any], answer: "_Answer", error: BackburnerError) -> None:
        """Answer with the error, or break off what is being answered."""
        answer.error = error
        if answer.status is None:
            with suppress(OSError):
                await error_response(error)(scope, _nothing, answer.send)
        # Else uvicorn closes the connection, as its answer has no end: nobody takes a part for the whole.

    def _note(self, scope: MutableMapping[str, Any], answer: "_Answer", call: Call | None, seconds: float) -> None:
        error = answer.error or (call.error if call is not None else None)
        if isinstance(error, RateLimited):
            self._telemetry.limited(error.code)
        if isinstance(error, (StoreError, QueueError)):
            log.warning("a call could not be served", request_id=answer.id, code=error.code, error=error.message)
        route = getattr(scope.get("route"), "path", "none")
        status = answer.status or (_GONE_STATUS if answer.gone else _BROKEN_STATUS)
        self._telemetry.served(route, scope["method"], status, seconds)
        facts: dict[str, Any] = {
            "request_id": answer.id,
            "method": scope["method"],
            "path": _path(scope),
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "bytes_out": answer.size,
        }
        if error is not None:
            facts["code"] = error.code
        if call is not None:
            facts |= {"bytes_in": call.body.received, "tenant": call.tenant, "caller": call.principal.subject}
            facts |= call.facts
        self._access.write(facts)


_NOBODY = Principal("nobody", "nobody", frozenset())


class _Answer:
    """The answer on its way out: adds what every answer has, and notes how it went."""

    def __init__(self, send: Send, call_id: str) -> None:
        self._send = send
        self.id = call_id
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.error: BackburnerError | None = None
        self.size = 0
        self.gone = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = {"x-request-id": self.id, **self.headers}
            message["headers"] = [
                *message.get("headers", ()),
                *((name.encode(), value.encode("latin-1")) for name, value in added.items()),
            ]
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _path(scope: MutableMapping[str, Any]) -> str:
    return str(scope["path"])[:_MAX_LOGGED_CHARACTERS]


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
