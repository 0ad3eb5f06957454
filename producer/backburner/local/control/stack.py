"""The embedded stack: store, queue, pool and our own parts, brought up in that order, kept up, and stopped in reverse.

Our own parts are workers, and where asked for gateway and dispatcher.

All of it is supervised from one thread, the main one, by checking every child a few times a second. What is on
disk, in `.backburner`, and who may start a stack there, is decided in the modules beside this one.
"""

import asyncio
import contextlib
import fcntl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Self, TypeVar

from backburner.local.control.interrupt import Interrupts
from backburner.local.control.stack_settings import (
    DRAIN,
    drain_seconds,
    lasting_cache,
    own_settings,
    stack_settings,
)
from backburner.local.engine_args import ServedModel, resolve_model
from backburner.local.options import Preparation, Say, UpOptions
from backburner.local.programs.backoff import Backoff
from backburner.local.programs.broker import Broker
from backburner.local.programs.child import Program, clean_environment, describe
from backburner.local.programs.emulator import Emulator
from backburner.local.programs.front import Front
from backburner.local.programs.parts import Part, Parts
from backburner.local.programs.ports import PortLeases
from backburner.local.programs.store import Store
from backburner.settings import QueueKind
from backburner_schemas.errors import BackburnerError, EngineError, QueueError, SettingsError

_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 10.0
_PREPARE_SECONDS = 120.0
_FRONT_READY_SECONDS = 60.0

T = TypeVar("T")

Server = Store | Broker | Emulator


class Stack:
    """A context manager: `start` brings everything up, `supervise` keeps it up until it is interrupted.

    Leaving the block stops our parts, queue and store, whatever happened inside.
    """

    def __init__(self, options: UpOptions, *, say: Say, interrupts: Interrupts) -> None:
        if options.workers < 0:
            raise SettingsError(f"--workers is {options.workers}; pass 0 or more")
        self._options = options
        self._say = say
        self._interrupts = interrupts
        self._closing = contextlib.ExitStack()
        self._servers: list[tuple[Server, Backoff]] = []
        self._make_queues: Callable[[], None] = lambda: None
        self._parts = Parts()
        self._env: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(_data_lock(self._options.data_folder))
            self._leases = opening.enter_context(PortLeases())
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupts.when_insisted(self._kill)
        self._closing.close()

    def _kill(self) -> None:
        """End all processes at once, while they are being stopped; whoever stops them finds them gone."""
        for child in (*self._parts.children, *(server.child for server, _ in self._servers)):
            child.kill()

    def env(self) -> dict[str, str]:
        """The settings that every command needs to work with this stack; empty before `start`."""
        return dict(self._env)

    def start(self, preparation: Preparation) -> None:
        """Bring everything up; returns when every part is ready.

        Raises the error of the part that did not come up, and `KeyboardInterrupt` if a stop was asked for.
        """
        with self._interrupts.at_once():
            model = resolve_model(self._options, self._say)
        self._say("starting the object store")
        store = Store(self._options.data_folder, self._leases)
        self._bring_up(store)
        queue = self._queue(store)
        self._say(f"starting {queue.child.program.name}")
        self._bring_up(queue)
        self._env = stack_settings(self._options, store, queue, model)
        self._say(f"creating topics and the pool {self._env['BACKBURNER_POOL']}")
        settings = {**own_settings(), **self._env}
        self._make_queues = lambda: self._prepare(lambda: preparation.ensure_pool(settings, model.name))
        self._make_queues()
        front = self._front(preparation, settings) if self._options.gateway else []
        self._start_parts(Parts([*self._workers(settings), *front]), model)

    def supervise(self) -> None:
        """Keep everything up: whatever ends is started again. Never returns.

        Raises `KeyboardInterrupt` when a stop is asked for, an error when a part cannot be brought up again.
        """
        while True:
            self._look()
            self._interrupts.pause(_POLL_SECONDS)

    def _queue(self, store: Store) -> Broker | Emulator:
        data, leases = self._options.data_folder, self._leases
        return Emulator(data, leases) if self._options.queue is QueueKind.SQS else Broker(data, leases, store)

    def _bring_up(self, server: Server) -> None:
        self._closing.callback(server.stop)
        server.start(self._interrupts.pause)
        self._servers.append((server, Backoff()))

    def _workers(self, settings: Mapping[str, str]) -> list[Part]:
        return [
            self._part(
                f"worker {number}",
                self._options.worker_argv,
                {**settings, **lasting_cache(settings)},
                EngineError,
                ready_seconds=self._options.warm_seconds,
                ready_word="warm",
            )
            for number in range(1, self._options.workers + 1)
        ]

    def _front(self, preparation: Preparation, settings: Mapping[str, str]) -> list[Part]:
        """Gateway and dispatcher, once there is a key for callers; what OpenAI's clients need joins the settings."""
        front = Front(self._options.data_folder, self._leases, self._options.gateway_port)
        front.keep(self._prepare(lambda: preparation.ensure_api_key(settings, front.api_key)))
        self._env |= front.variables
        programs = {"the gateway": self._options.gateway_argv, "the dispatcher": self._options.dispatcher_argv}
        return [
            self._part(name, argv, {**settings, **front.settings}, BackburnerError, ready_seconds=_FRONT_READY_SECONDS)
            for name, argv in programs.items()
        ]

    def _part(
        self,
        name: str,
        argv: tuple[str, ...],
        settings: Mapping[str, str],
        error: type[BackburnerError],
        *,
        ready_seconds: float,
        ready_word: str = "ready",
    ) -> Part:
        env = clean_environment(**{**settings, DRAIN: f"{drain_seconds(self._options):g}"})
        log = self._options.data_folder / "logs" / f"{name.removeprefix('the ').replace(' ', '-')}.log"
        program = Program(name=name, argv=argv, env=env, log=log, error=error)
        return Part(program, self._leases.take(), ready_seconds=ready_seconds, ready_word=ready_word, say=self._say)

    def _start_parts(self, parts: Parts, model: ServedModel) -> None:
        if not parts.names:
            return
        self._parts = parts
        self._closing.callback(self._stop_parts)
        started = said = time.monotonic()
        loading = f"; loading {model.name}" if self._options.workers else ""
        self._say(f"starting {_listed(parts.names)}{loading}")
        self._look()
        while unready := parts.unready:
            if time.monotonic() - said > _PROGRESS_SECONDS:
                said = time.monotonic()
                self._say(f"waiting for {_listed(unready)} ({said - started:.0f} s)")
            self._interrupts.pause(_POLL_SECONDS)
            self._look()

    def _stop_parts(self) -> None:
        self._say(f"stopping {_listed(self._parts.names)}; Ctrl-C again ends all at once")
        self._parts.stop(drain_seconds(self._options))

    def _look(self) -> None:
        for server, backoff in self._servers:
            if not server.child.running:
                self._revive(server, backoff)
        self._parts.tend()

    def _revive(self, server: Server, backoff: Backoff) -> None:
        """Start a server again with the same ports and data: clients find it where it was."""
        name = server.child.program.name
        status = server.child.exit_status()
        self._say(f"{name} ended with {describe(status or 0)}; starting it again")
        delay = backoff.after_death(came_up=True, lived=server.child.lived)
        failure: BackburnerError | None = None
        while delay is not None:
            self._interrupts.pause(delay)
            try:
                server.start(self._interrupts.pause)
            except BackburnerError as error:
                failure = error
                delay = backoff.after_death(came_up=False, lived=0.0)
            else:
                self._say(f"{name} is back")
                if isinstance(server, Emulator):
                    # Unless it was asked to stop, it forgot queues that were created since, and all that was on them.
                    self._make_queues()
                return
        raise failure or server.child.failure("cannot be started again")

    def _prepare(self, prepare: Callable[[], Awaitable[T]]) -> T:
        """Await it with a bound, and cancel it at once when a stop is asked for."""

        async def wait() -> T:
            task = asyncio.ensure_future(prepare())
            deadline = time.monotonic() + _PREPARE_SECONDS
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=_POLL_SECONDS)
                    self._interrupts.check()
                    if time.monotonic() > deadline and not task.done():
                        raise QueueError(
                            f"queue and store were not prepared within {_PREPARE_SECONDS:.0f} s; try again"
                        )
                return await task
            finally:
                task.cancel()

        return asyncio.run(wait())


@contextlib.contextmanager
def _data_lock(data: Path) -> Iterator[None]:
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another stack uses the data folder {data}; stop it with `backburner down`, or choose another --data"
            ) from error
        yield


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
