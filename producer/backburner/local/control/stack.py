"""The embedded stack: store, queue, pool and workers, brought up in that order, kept up, and stopped in reverse.

All of it is supervised from one thread, the main one, by checking every child a few times a second. What is on
disk, in `.backburner`, and who may start a stack there, is decided in the modules beside this one.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from backburner.local.control.interrupt import Interrupts
from backburner.local.engine_args import ServedModel, resolve_model
from backburner.local.model import default_cache_dir
from backburner.local.options import EnsurePool, Say, UpOptions
from backburner.local.programs.backoff import Backoff
from backburner.local.programs.broker import Broker
from backburner.local.programs.child import clean_environment, describe
from backburner.local.programs.emulator import Emulator
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.store import RESULTS_BUCKET, Store
from backburner.local.programs.workers import Workers
from backburner.settings import QueueKind
from backburner_schemas.errors import BackburnerError, QueueError, SettingsError
from backburner_schemas.routing import pool_name

_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 10.0
_ENSURE_SECONDS = 120.0

# Settings of the user's that would lead the stack's workers away from it, or make all of them the same member.
_NOT_FOR_WORKERS = ("BACKBURNER_WORKER_ID", "BACKBURNER_ENGINE_ARGS", "BACKBURNER_KAFKA_SECURITY_")

DRAIN = "BACKBURNER_DRAIN_SECONDS"
_DRAIN_SECONDS = 15.0
_INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


_EMBEDDED = {
    "BACKBURNER_HTTP_HOST": LOOPBACK,
    # Every worker that is started by hand takes a free port, so that any number can run side by side.
    "BACKBURNER_HTTP_PORT": "0",
}
_EMBEDDED_KAFKA = {
    # The embedded broker offers no producer ids, is one server, and shares one machine with everything else.
    "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
    "BACKBURNER_TOPIC_PARTITIONS": "8",
    "BACKBURNER_TOPIC_REPLICATION": "1",
    # Two members that leave at the same time leave a ghost behind on this broker, and the group stands still for ever.
    "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
    # A worker that was killed holds its partitions no longer than this.
    "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
}
_EMBEDDED_SQS = {
    # What a worker held that was killed comes back after this.
    "BACKBURNER_SQS_VISIBILITY_SECONDS": "30",
    # A worker that is stopped waits for its last poll of the queues.
    "BACKBURNER_SQS_WAIT_SECONDS": "2",
}

Server = Store | Broker | Emulator


class Stack:
    """A context manager: `start` brings everything up, `supervise` keeps it up until it is interrupted.

    Leaving the block stops workers, queue and store, whatever happened inside.
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
        self._workers = Workers(())
        self._env: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(_data_lock(self._options.data_folder))
            self._leases = opening.enter_context(PortLeases())
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def env(self) -> dict[str, str]:
        """The settings that every command needs to work with this stack; empty before `start`."""
        return dict(self._env)

    def start(self, ensure: EnsurePool) -> None:
        """Bring everything up; returns when every worker is warm.

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
        self._env = self._settings(store, queue, model)
        self._say(f"creating topics and the pool {self._env['BACKBURNER_POOL']}")
        settings = {**_own_settings(), **self._env}
        self._make_queues = lambda: asyncio.run(self._make_pool(ensure, settings, model.name))
        self._make_queues()
        self._start_workers(settings, model)

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

    def _start_workers(self, settings: Mapping[str, str], model: ServedModel) -> None:
        if not self._options.workers:
            return
        self._workers = Workers.build(
            self._options.workers,
            argv=self._options.worker_argv,
            env=clean_environment(
                **{**settings, **_lasting_cache(settings), DRAIN: f"{drain_seconds(self._options):g}"}
            ),
            logs=self._options.data_folder / "logs",
            leases=self._leases,
            warm_seconds=self._options.warm_seconds,
            say=self._say,
        )
        self._closing.callback(self._stop_workers)
        started = said = time.monotonic()
        self._say(f"starting {_counted(self._options.workers)} and loading {model.name}")
        self._look()
        while cold := self._workers.cold:
            if time.monotonic() - said > _PROGRESS_SECONDS:
                said = time.monotonic()
                self._say(f"waiting for {', '.join(cold)} to load {model.name} ({said - started:.0f} s)")
            self._interrupts.pause(_POLL_SECONDS)
            self._look()

    def _stop_workers(self) -> None:
        self._say(f"stopping {_counted(self._options.workers)}")
        self._workers.stop(drain_seconds(self._options))

    def _look(self) -> None:
        for server, backoff in self._servers:
            if not server.child.running:
                self._revive(server, backoff)
        self._workers.tend()

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

    async def _make_pool(self, ensure: EnsurePool, settings: Mapping[str, str], model: str) -> None:
        """Await it with a bound, and cancel it at once when a stop is asked for."""
        task = asyncio.ensure_future(ensure(settings, model))
        deadline = time.monotonic() + _ENSURE_SECONDS
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_POLL_SECONDS)
                self._interrupts.check()
                if time.monotonic() > deadline and not task.done():
                    raise QueueError(f"topics and pool were not created within {_ENSURE_SECONDS:.0f} s; try again")
            await task
        finally:
            task.cancel()

    def _settings(self, store: Store, queue: Broker | Emulator, model: ServedModel) -> dict[str, str]:
        settings = {
            "BACKBURNER_QUEUE_URL": queue.url,
            "BACKBURNER_STORE_URL": f"s3://{RESULTS_BUCKET}/main",
            "BACKBURNER_STORE_ENDPOINT": store.endpoint,
            **store.environment,
            "BACKBURNER_POOL": pool_name(model.name),
            "BACKBURNER_ENGINE": str(self._options.engine),
            "BACKBURNER_MODEL": model.path,
        }
        if model.engine_args is not None:
            settings["BACKBURNER_ENGINE_ARGS"] = model.engine_args
        return {**settings, **_EMBEDDED, **(_EMBEDDED_SQS if isinstance(queue, Emulator) else _EMBEDDED_KAFKA)}


def drain_seconds(options: UpOptions) -> float:
    """What workers may take to finish: the option, the user's setting, or 15 s."""
    if options.drain_seconds is not None:
        return options.drain_seconds
    text = os.environ.get(DRAIN, "")
    try:
        return float(text) if text else _DRAIN_SECONDS
    except ValueError as error:
        raise SettingsError(f"{DRAIN} is {text!r}; set a number of seconds") from error


def _own_settings() -> dict[str, str]:
    """The user's own settings, such as a log level, which hold for the stack's workers too."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("BACKBURNER_") and not name.startswith(_NOT_FOR_WORKERS)
    }


def _lasting_cache(settings: Mapping[str, str]) -> dict[str, str]:
    """Keeps what torch compiles from `up` to `up`: its own place is among the temporary files that go."""
    if _INDUCTOR_CACHE in os.environ or settings.get("BACKBURNER_COMPILE_CACHE_DIR"):
        return {}
    return {_INDUCTOR_CACHE: str(default_cache_dir().parent / "inductor")}


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


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
