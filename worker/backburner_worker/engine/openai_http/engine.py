"""An engine of servers elsewhere that speak OpenAI's HTTP API, behind the engine port.

A server elsewhere that dies is not the end of this engine: it is ejected, others get its requests, and it is admitted
again once it has answered a real request. So this engine is never lost. While no server answers it takes no requests:
`capacity` is 0, and those that it has, and that were not sent, wait.

What becomes of a request depends on whether a server may have begun it. One that was not (no connection, 429, 401) is
sent to the next server with room, as often as it takes. One that may have been (the connection broke, 5xx, no answer in
time) raises `EngineError`, so that policy counts an attempt: a request that kills servers gets through a few of them,
and not through all. It makes no suspect, since what broke a connection may as well be the network, or a rollout.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from backburner.runtime.memory_budget import MemoryBudget
from backburner_schemas.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    Expired,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
    SettingsError,
)
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineInfo, EngineLoad, EngineRequest, EngineResponse
from backburner_worker.engine.openai_answer import response_of
from backburner_worker.engine.openai_http.balancer import Balancer
from backburner_worker.engine.openai_http.client import Broken, Heard, HttpAnswer, HttpClient, NotSent, file_limit
from backburner_worker.engine.openai_http.concurrency import ConcurrencyLimit
from backburner_worker.engine.openai_http.credentials import Credentials
from backburner_worker.engine.openai_http.discovery import Discovery, Kind, NotReady, Offer, Unusable
from backburner_worker.engine.openai_http.judgement import Busy, Denied, judge
from backburner_worker.engine.openai_http.options import URLS, OpenAiHttpOptions, check_options
from backburner_worker.engine.openai_http.server import Place, Server
from backburner_worker.engine.stall import RunningTime, StallWatch

_MAX_ANSWERS_BYTES = 256 * 1024 * 1024
"""Of all answers that are being read; a server whose answer has to wait for others waits as for any slow reader."""
_MAX_PROBE_RATIO = 10
_SILENCE_LOOK_SECONDS = 1.0
_MAX_FAILED_CHECKS = 3
"""Looks in a row without an answer after which a server is ejected."""


_MAX_REFUSALS = 10
"""Refusals of one request for lack of capacity that count as an attempt: it may be over a quota by itself."""
_MAX_DENIALS = 2
"""The same where the worker was refused altogether, although the server had answered it before."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A server that is ready, explored."""

    offer: Offer
    endpoints: frozenset[Endpoint]
    kind: Kind


class OpenAiHttpEngine:
    """An `Engine` of servers that speak OpenAI's API.

    Args:
        options: The servers, and how they are called.
        model: The model's name at the servers; `served_name` if empty, and else the only one that they have.
        served_name: The name that requests use; the servers' own if none is given.
        concurrency: Requests in flight at all servers together; learned from each server if 0.
    """

    def __init__(
        self, options: OpenAiHttpOptions, model: str = "", served_name: str | None = None, *, concurrency: int = 0
    ) -> None:
        """Raises `SettingsError`, also for files that cannot be read."""
        check_options(options)
        self._options = options
        self._wanted = model or served_name or ""
        self._served_name = served_name
        self._concurrency = concurrency
        self._credentials = Credentials(options)
        self._balancer = Balancer([Server(url, ConcurrencyLimit(concurrency)) for url in options.urls], time.monotonic)
        self._client: HttpClient | None = None
        self._watching: list[asyncio.Task[None]] = []
        self._look_at = {server.url: asyncio.Event() for server in self._balancer.servers}
        self._memory = MemoryBudget(_MAX_ANSWERS_BYTES)
        self._calls: dict[str, set[asyncio.Timeout]] = {url: set() for url in self._look_at}
        """What breaks off the calls that each server has."""
        self._wakers: set[asyncio.TimerHandle] = set()
        self._names: Mapping[str, str] = {}
        """The servers' own name for each name that requests use."""
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._kind = Kind("openai-http")
        self._most = file_limit()
        self._answers = self._tokens = 0
        self._closed = self._ended = False
        self._idle = asyncio.Event()
        self._running = 0

    @property
    def lost(self) -> bool:
        """Never, but for an error of our own: servers come back."""
        return not self._closed and any(task.done() for task in self._watching)

    def capacity(self) -> int:
        """Requests that it takes at once, as of now; 0 while no server takes any."""
        capacity = self._balancer.capacity()
        return min(capacity, self._concurrency or self._most)

    def unavailable_reason(self) -> str | None:
        """Why no server answers, in one line; None while one does."""
        return self._balancer.unavailable_reason()

    def servers(self) -> tuple[int, int]:
        """How many servers answer, and how many do not."""
        away = sum(server.away is not None for server in self._balancer.servers)
        return len(self._balancer.servers) - away, away

    def load(self) -> EngineLoad | None:
        """What is at the servers, and what waits here for one."""
        return EngineLoad(
            running=self._balancer.in_flight,
            waiting=len(self._balancer),
            steps=self._answers,
            generated=self._tokens,
        )

    async def start(self) -> EngineInfo:
        """Wait for a first server, and have it answer real requests to each endpoint that it has.

        Raises `EngineError` if none is ready in time, and `SettingsError` if none ever will be with these settings.
        """
        self._client = HttpClient(self._credentials)
        first, found = await self._first()
        offer = found.offer
        base = offer.models[0]
        served = self._served_name or base
        if served in offer.adapters:
            raise SettingsError(f"BACKBURNER_SERVED_NAME: {served!r} is an adapter's name; choose another")
        self._names = {served: base, **{name: name for name in offer.names if name not in (served, base)}}
        self._endpoints, self._kind = found.endpoints, found.kind
        self._wanted = base
        first.admit(offer.names)
        self._watching = [
            asyncio.create_task(self._watch(server), name=f"watch-{server.url}") for server in self._balancer.servers
        ]
        self._watching.append(asyncio.create_task(self._watch_silence(), name="watch-silence"))
        return EngineInfo(
            models=tuple(name for name in self._names if name not in offer.adapters),
            endpoints=self._endpoints,
            version=self._kind.version,
            kv_tokens=0,
            max_sequences=self.capacity(),
            adapters=offer.adapters,
        )

    async def run(self, request: EngineRequest) -> EngineResponse:
        """Answer one request, by whichever server has room. See the port for errors and cancellation.

        Waits for a server as long as it takes, or to the request's deadline: then it raises `Expired`.
        """
        if self.lost:
            raise EngineLost
        if self._closed or self._client is None:
            raise EngineError("the engine is closed")
        requested = request.body.get("model")
        name = self._names.get(requested) if isinstance(requested, str) else None
        if name is None:
            served = ", ".join(sorted(self._names))
            raise ModelNotFound(f"the model {requested!r} is not served here; use {served}", param="model")
        if request.endpoint not in self._endpoints:
            raise RequestRefused(f"the model {requested!r} does not answer {request.endpoint}", param="url")
        self._running += 1
        try:
            response = await self._send(self._client, request, name, self._payload(request, name))
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
        if name != requested:
            response.body = {**response.body, "model": requested}
        return response

    async def close(self, drain: float) -> None:
        """Let what runs finish within `drain` seconds; the rest raises `GenerationAborted`. Ends all connections."""
        self._closed = True
        if self._running and drain > 0:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain):
                    await self._idle.wait()
        self._ended = True
        for task in self._watching:
            task.cancel()
        if self._watching:
            await asyncio.wait(self._watching)
        for waker in self._wakers:
            waker.cancel()
        self._balancer.fail_waiting(GenerationAborted() for _ in range(len(self._balancer)))
        if self._client is not None:
            await self._client.close()

    # --- requests ---

    def _payload(self, request: EngineRequest, name: str) -> bytes:
        body: dict[str, Any] = {**request.body, "model": name}
        if request.endpoint is Endpoint.RESPONSES:
            body["store"] = False
        if request.cache_salt and self._kind.vllm:
            # Others refuse what they do not know, or share no cache between tenants.
            body["cache_salt"] = request.cache_salt
        return json.dumps(body, separators=(",", ":")).encode()

    async def _send(self, client: HttpClient, request: EngineRequest, name: str, payload: bytes) -> EngineResponse:
        """Send it to one server after the other, until one has begun it."""
        refusals = 0
        while not self._ended:
            place = self._balancer.take(name) or await self._wait(request, name)
            server = place.server
            try:
                return await self._call(client, place, request, payload)
            except NotSent as error:
                self._eject(place, str(error))
            except Denied as error:
                if error.certain:
                    self._eject(place, str(error))
                    refusals += _MAX_REFUSALS // _MAX_DENIALS
                else:
                    if server.refused(place):
                        self._look_at[server.url].set()
                    refusals += _MAX_REFUSALS
                failure = EngineError(f"{server.url}: {error}")
            except Busy as error:
                server.busy(place, error.pause, time.monotonic())
                self._wake_after(server)
                refusals += 1
                failure = EngineBusy(f"{server.url}: {error}")
            except EngineError as error:
                if self._ended:
                    raise
                # What it said may quote a prompt, and the reason stands in the log and at /readyz.
                server.failed(place, f"it only fails ({error.code}); records have what it said")
                self._note(server)
                raise type(error)(f"{server.url}: {error.message}", param=error.param) from error
            finally:
                server.leave()
                self._balancer.hand_out()
            if refusals >= _MAX_REFUSALS:
                raise failure
        raise GenerationAborted

    async def _call(self, client: HttpClient, place: Place, request: EngineRequest, payload: bytes) -> EngineResponse:
        """Make one call. Raises `NotSent`, `Denied` and `Busy` for what was not begun, and errors of the port."""
        server = place.server
        if self._ended:
            raise GenerationAborted
        with self._memory.share() as share:

            async def heard(size: int) -> None:
                server.hear()
                await share.take(size)

            answer = await self._post(client, server, request, payload, heard)
            try:
                response = response_of(request.endpoint, judge(answer))
            except RequestRefused:
                server.answered(0, time.monotonic())
                raise
        tokens = response.usage.completion_tokens or response.usage.prompt_tokens
        self._answers += 1
        self._tokens += tokens
        server.answered(tokens, time.monotonic())
        return response

    async def _post(
        self,
        client: HttpClient,
        server: Server,
        request: EngineRequest,
        payload: bytes,
        heard: Heard,
    ) -> HttpAnswer:
        url, seconds = server.url + request.endpoint, self._options.answer_seconds
        patience = asyncio.timeout(None)
        self._calls[server.url].add(patience)
        try:
            async with patience:
                return await client.post(url, payload, request.id, seconds, heard=heard)
        except TimeoutError as error:
            raise EngineError(self._silence) from error
        except (Broken, NotSent) as error:
            if self._ended:
                raise GenerationAborted from error
            if isinstance(error, NotSent):
                raise
            raise EngineError(str(error)) from error
        finally:
            self._calls[server.url].discard(patience)

    async def _wait(self, request: EngineRequest, name: str) -> Place:
        if request.deadline is None:
            return await self._balancer.wait(name)
        try:
            async with asyncio.timeout_at(request.deadline):
                return await self._balancer.wait(name)
        except TimeoutError as error:
            raise Expired from error

    # --- servers ---

    async def _first(self) -> tuple[Server, _Found]:
        """The first server that is ready. What it offers is what this engine does."""
        options = self._options
        reasons: dict[str, str] = {}
        pause = options.probe_seconds
        try:
            async with asyncio.timeout(options.start_seconds):
                while True:
                    hopeless = True
                    async with contextlib.aclosing(self._explore_all()) as explored:
                        async for server, found in explored:
                            if isinstance(found, _Found):
                                return server, found
                            hopeless = hopeless and isinstance(found, Unusable)
                            reasons[server.url] = str(found)
                            server.eject(str(found))
                    if hopeless:
                        raise SettingsError(f"no server of {URLS} can be used: {_joined(reasons)}")
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, options.probe_seconds * _MAX_PROBE_RATIO)
        except TimeoutError as error:
            said = _joined(reasons) or "no answer"
            raise EngineError(
                f"no server of {URLS} was ready within {options.start_seconds:g} s ({said}); "
                "see that they run, or raise BACKBURNER_ENGINE_HTTP_START_SECONDS"
            ) from error

    async def _explore_all(self) -> AsyncGenerator[tuple[Server, "_Found | Unusable | NotReady"]]:
        """What becomes of exploring each server, as each is done; the rest is given up when nobody asks for more."""
        exploring = {asyncio.create_task(self._explore(server)): server for server in self._balancer.servers}
        pending = set(exploring)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield exploring[task], task.result()
        finally:
            for task in exploring:
                task.cancel()
            await asyncio.wait(exploring)

    async def _explore(self, server: Server) -> "_Found | Unusable | NotReady":
        assert self._client is not None
        discovery = Discovery(self._client, server.url)
        try:
            offer = await discovery.offer(self._wanted)
            return _Found(offer, await discovery.endpoints(offer), await discovery.kind())
        except (Unusable, NotReady) as error:
            return error

    async def _watch(self, server: Server) -> None:
        """Look at one server for ever: eject it when it is silent, admit it when it answers."""
        assert self._client is not None
        discovery = Discovery(self._client, server.url)
        look_at = self._look_at[server.url]
        options = self._options
        pause = options.probe_seconds
        silent = 0
        while True:
            if server.away is None:
                pause = options.probe_seconds
                try:
                    async with asyncio.timeout(options.check_seconds):
                        await look_at.wait()
                except TimeoutError:
                    silent = await self._check(server, discovery, silent)
                else:
                    if server.away is None:
                        # Whether it refuses what is known to be harmless, too. It goes on meanwhile.
                        look_at.clear()
                        await self._try(server, discovery)
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, options.probe_seconds * _MAX_PROBE_RATIO)
            if (offer := await self._try(server, discovery)) is not None:
                silent = 0
                server.hear()
                look_at.clear()
                server.admit(offer.names)
                self._balancer.hand_out()

    async def _try(self, server: Server, discovery: Discovery) -> Offer | None:
        """What a server offers that answers a real request; else it is ejected."""
        try:
            offer = await discovery.offer(self._wanted)
            await discovery.warm(offer, self._tried)
        except (NotReady, Unusable) as error:
            server.eject(str(error))
            return None
        return offer

    async def _watch_silence(self) -> None:
        """Take from servers that hang what they have, for ever."""
        running_time = RunningTime(_SILENCE_LOOK_SECONDS)
        watches = [(server, StallWatch(self._options.stall_seconds)) for server in self._balancer.servers]
        while True:
            now = running_time.look(time.monotonic())
            for server, watch in watches:
                if watch.look(server.heard, server.in_flight, now):
                    server.eject(self._silence)
                    self._note(server)
                    for patience in self._calls[server.url]:
                        if patience.expired():
                            # It ends already, and takes its time.
                            continue
                        patience.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(_SILENCE_LOOK_SECONDS)

    @property
    def _silence(self) -> str:
        return f"it sent no byte for {self._options.stall_seconds:g} s (BACKBURNER_ENGINE_STALL_SECONDS)"

    async def _check(self, server: Server, discovery: Discovery, silent: int) -> int:
        """Look at a server that answers. Returns how often in a row it did not."""
        try:
            await discovery.check()
        except NotReady as error:
            silent += 1
            if silent >= _MAX_FAILED_CHECKS and server.away is None:
                server.eject(str(error))
            return silent
        server.hear()
        return 0

    @property
    def _tried(self) -> Endpoint:
        """The endpoint that a server has to answer before it is admitted."""
        return next(endpoint for endpoint in Endpoint if endpoint in self._endpoints)

    def _eject(self, place: Place, reason: str) -> None:
        place.server.refused_caller(place, reason)
        self._note(place.server)

    def _note(self, server: Server) -> None:
        if server.away is not None:
            self._look_at[server.url].set()

    def _wake_after(self, server: Server) -> None:
        """Give its places to those who wait once its pause is over."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            self._wakers.discard(handle)
            self._balancer.hand_out()

        handle = loop.call_later(max(0.0, server.paused_until - time.monotonic()), wake)
        self._wakers.add(handle)


def _joined(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
