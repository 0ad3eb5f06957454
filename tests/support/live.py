"""The real parts for tests: broker and store by the product's own code, and workers started by hand beside them.

It holds no test and no fixture.
"""

import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, until

from backburner import Client
from backburner.cli.commands.stack import ensure_pool
from backburner.local.programs import broker, emulator, probe, store
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.settings import Settings
from backburner.storage import Storage

# Short times, so that ends come soon; the grace still covers marker, segment and drain, as it must.
QUICK = {
    "BACKBURNER_FREEZE_GRACE_SECONDS": "4",
    "BACKBURNER_CANCEL_POLL_SECONDS": "0.25",
    "BACKBURNER_SWEEP_SECONDS": "1",
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "0.2",
    "BACKBURNER_SEGMENT_MAX_AGE_SECONDS": "1",
    "BACKBURNER_DRAIN_SECONDS": "2",
    "BACKBURNER_KAFKA_SESSION_SECONDS": "3",
    "BACKBURNER_SQS_VISIBILITY_SECONDS": "10",
    "BACKBURNER_SQS_WAIT_SECONDS": "1",
    "BACKBURNER_DISPATCH_CLAIM_SECONDS": "3",
    "BACKBURNER_DISPATCH_LOOK_SECONDS": "0.2",
}


def lines(count: int, text: str = "prompt {}", *, model: str = "fake", prefix: str = "r", **body: Any) -> list[dict]:
    """That many requests in the form of a batch file; `{}` in the text is the request's number."""
    return [
        {
            "custom_id": f"{prefix}{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": text.format(number)}], **body},
        }
        for number in range(count)
    ]


class LiveProcess:
    """A long-lived process of the product, started as its users do."""

    def __init__(self, module: str | Path, name: str, env: dict[str, str], log: Path, *, ready: str) -> None:
        """`ready` is what it logs when it takes in work. A path is a program that a test has for it."""
        self._ready = ready
        started = (str(module),) if isinstance(module, Path) else ("-m", module)
        self._child = Child(Program(name=name, argv=(sys.executable, *started), env=env, log=log))
        self._child.start()

    @property
    def pid(self) -> int:
        assert self._child.pid is not None
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        return self._child.exit_status()

    def log(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        with self._child.program.log.open(encoding="utf-8", errors="replace") as file:
            return [json.loads(text) for text in file if text.startswith("{") and text.endswith("}\n")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log that say so."""
        return [line for line in self.log() if event in str(line.get("event"))]

    def tail(self) -> str:
        return self._child.tail()

    def is_warm(self) -> bool:
        assert self.exit_status is None, f"the process ended with {self.exit_status}:\n{self.tail()}"
        return bool(self.said(self._ready))

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of its own."""
        (heard,) = self.said("listening")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{heard['port']}{path}", timeout=PATIENCE) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """A metric, or the sum over its labels where none is given, as the worker's own page shows it now."""
        shown = self.page("/metrics")[1].splitlines()
        return sum(float(text.rpartition(" ")[2]) for text in shown if text.startswith((name + " ", name + "{")))

    def children(self) -> list[int]:
        """The ids of its own children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def ask_to_stop(self) -> None:
        self._child.ask_to_stop()

    def stop(self) -> None:
        self._child.stop(grace=15.0)


class LiveWorker(LiveProcess):
    """A worker."""

    def __init__(self, name: str, env: dict[str, str], log: Path, program: str | Path = "backburner_worker") -> None:
        # It pulls before the group has given it anything, which can take seconds on this broker. On SQS there is no
        # group to wait for.
        ready = "pulling" if env["BACKBURNER_QUEUE_URL"].startswith("sqs:") else "partitions assigned"
        super().__init__(program, name, env, log, ready=ready)


class LiveDispatcher(LiveProcess):
    """A dispatcher."""

    def __init__(self, name: str, env: dict[str, str], log: Path) -> None:
        super().__init__("backburner.dispatcher", name, env, log, ready="dispatching")


class LiveGateway(LiveProcess):
    """A gateway."""

    def __init__(self, name: str, env: dict[str, str], log: Path) -> None:
        super().__init__("backburner.gateway", name, env, log, ready="serving")

    @property
    def url(self) -> str:
        """Where it serves, once it does."""
        (serving,) = self.said("serving")
        return f"http://127.0.0.1:{serving['port']}"


class Live:
    """A running broker, durable on a running store, or an SQS emulator beside it; and the settings that reach them."""

    def __init__(self, folder: Path, storage: store.Store, queue: broker.Broker | emulator.Emulator) -> None:
        self.folder = folder
        self.store = storage
        self.broker = queue
        self.workers: list[LiveWorker] = []
        self._names: Counter[str] = Counter()
        self.dispatchers: list[LiveDispatcher] = []
        self.gateways: list[LiveGateway] = []
        self.env = {
            "BACKBURNER_QUEUE_URL": queue.url,
            "BACKBURNER_STORE_URL": f"s3://{store.RESULTS_BUCKET}/main",
            "BACKBURNER_STORE_ENDPOINT": storage.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
            "BACKBURNER_TOPIC_PARTITIONS": "8",
            "BACKBURNER_TOPIC_REPLICATION": "1",
            "BACKBURNER_HTTP_HOST": "127.0.0.1",
            "BACKBURNER_HTTP_PORT": "0",
            "BACKBURNER_ENGINE": "fake",
            **QUICK,
            **storage.environment,
        }

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the settings into the environment, for as long as the test runs."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    async def make_pool(self, model: str) -> None:
        await ensure_pool(self.env, model)

    def _new_name(self, kind: str) -> str:
        """One that no process had, not even one that is gone: its log is added to, and read as if all were of one."""
        self._names[kind] += 1
        return f"{kind}-{self._names[kind]}"

    def worker(self, model: str = "fake", *, program: str | Path = "backburner_worker", **settings: str) -> LiveWorker:
        """Start a worker for that model, by another program where one is given; it is not waited for."""
        name = self._new_name("worker")
        env = clean_environment(**{**self.env, "BACKBURNER_MODEL": model, **settings})
        started = LiveWorker(name, env, self.folder / "logs" / f"{name}.log", program)
        self.workers.append(started)
        return started

    def dispatcher(self, **settings: str) -> LiveDispatcher:
        """Start a dispatcher; it is not waited for."""
        name = self._new_name("dispatcher")
        env = clean_environment(**{**self.env, **settings})
        started = LiveDispatcher(name, env, self.folder / "logs" / f"{name}.log")
        self.dispatchers.append(started)
        return started

    def gateway(self, **settings: str) -> LiveGateway:
        """Start a gateway on a free port; it is not waited for."""
        name = self._new_name("gateway")
        local = {"BACKBURNER_GATEWAY_LISTEN_HOST": "127.0.0.1", "BACKBURNER_GATEWAY_LISTEN_PORT": "0"}
        env = clean_environment(**{**self.env, **local, **settings})
        started = LiveGateway(name, env, self.folder / "logs" / f"{name}.log")
        self.gateways.append(started)
        return started

    async def warm(self, *processes: LiveProcess) -> None:
        """Wait until they take in work; workers, until they have their share of the partitions."""
        for one in processes:
            await until(one.is_warm, "a warm process")

    def stop_workers(self) -> None:
        """Stop workers, dispatchers and gateways."""
        running = [*self.workers, *self.dispatchers, *self.gateways]
        for one in running:
            one.ask_to_stop()
        for one in running:
            one.stop()

    # What follows reads AWS_… variables: for tests that use the fixture `stack`, which sets them.

    def client(self, **settings: Any) -> Client:
        return Client(Settings.load(**settings))

    def storage(self) -> Storage:
        return Storage.open(Settings.load())


@contextlib.contextmanager
def live(folder: Path, missing_server: Callable[[str], Any]) -> Iterator[Live]:
    """Broker and store in that folder; everything is stopped at the end of the block."""
    for find in (store.find_weed, broker.find_tansu):
        try:
            find()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot be had
            missing_server(str(error))
    with store.start(folder) as storage, broker.start(folder, storage=storage) as queue:
        assert probe.speaks_kafka(queue.port)
        with _closing(Live(folder, storage, queue)) as running:
            yield running


@contextlib.contextmanager
def live_on_sqs(folder: Path, missing_server: Callable[[str], Any]) -> Iterator[Live]:
    """SQS emulator and store in that folder; everything is stopped at the end of the block."""
    for find in (store.find_weed, emulator.check_emulator):
        try:
            find()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot be had
            missing_server(str(error))
    with (
        store.start(folder) as storage,
        emulator.start(folder) as queue,
        _closing(Live(folder, storage, queue)) as running,
    ):
        yield running


@contextlib.contextmanager
def _closing(running: Live) -> Iterator[Live]:
    try:
        yield running
    finally:
        running.stop_workers()
