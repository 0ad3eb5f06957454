"""What runs beside an engine's load: its failures end the load, whatever that is doing."""

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from waiting import until

from backburner.pools import PoolDirectory
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import PoolConflict, PoolNotFound, QueueError, StoreError
from backburner_schemas.pool import WorkerAnnouncement
from backburner_worker import app, startup_checks
from backburner_worker.engine.base import EngineInfo
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.factory import check_source
from backburner_worker.startup_checks import Checks, check_adapters, check_pool

pytestmark = pytest.mark.timeout(30)


class SlowEngine(FakeEngine):
    """An engine whose load ends when it is told to."""

    def __init__(self, model: str = "fake") -> None:
        super().__init__(model)
        self.loaded = asyncio.Event()
        self.given_up = False

    async def start(self) -> EngineInfo:
        try:
            await self.loaded.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        return await super().start()


def worker_settings(**more: Any) -> WorkerSettings:
    return WorkerSettings.load(store_url="memory:///r", engine="fake", queue_url="kafka://none:1", **more)


@pytest.fixture
def storage() -> Storage:
    return Storage.open(worker_settings())


@pytest.fixture
def make_checks(storage: Storage) -> Callable[..., Checks]:
    def make(check: Callable[[], Awaitable[None]] | None = None, **more: Any) -> Checks:
        return Checks(worker_settings(**more), storage, check=check)

    return make


async def test_the_checks_run_in_a_thread_of_their_own_while_the_engine_loads(
    make_checks: Callable[..., Checks],
) -> None:
    engine = SlowEngine()
    loop = asyncio.get_running_loop()
    threads = []

    async def check() -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(engine.loaded.set)

    checks = make_checks(check)
    info = await checks.load(engine)
    await checks.passed(info)
    assert threads[0] is not threading.current_thread()
    checks.close()


async def test_what_the_checks_find_ends_the_load(make_checks: Callable[..., Checks]) -> None:
    async def check() -> None:
        raise PoolNotFound("no such pool")

    engine, checks = SlowEngine(), make_checks(check)
    with pytest.raises(PoolNotFound, match="no such pool"):
        await checks.load(engine)
    assert engine.given_up
    checks.close()


async def test_a_check_that_is_slower_than_the_load_is_waited_for(make_checks: Callable[..., Checks]) -> None:
    go_on = threading.Event()

    async def check() -> None:
        await asyncio.to_thread(go_on.wait)
        raise PoolNotFound("late")

    checks = make_checks(check)
    info = await checks.load(FakeEngine())
    passing = asyncio.ensure_future(checks.passed(info))
    await asyncio.sleep(0)
    assert not passing.done()
    go_on.set()
    with pytest.raises(PoolNotFound, match="late"):
        await passing
    checks.close()


async def test_a_load_that_fails_first_says_why_and_the_checks_are_given_up(make_checks: Callable[..., Checks]) -> None:
    ended = threading.Event()

    async def check() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    class Broken(FakeEngine):
        async def start(self) -> EngineInfo:
            raise StoreError("anything")

    checks = make_checks(check)
    with pytest.raises(StoreError, match="anything"):
        await checks.load(Broken())
    checks.close()
    assert not checks._thread.is_alive()  # type: ignore[union-attr]


async def test_whoever_stops_waiting_leaves_nothing_behind(make_checks: Callable[..., Checks]) -> None:
    async def check() -> None:
        await asyncio.get_running_loop().create_future()

    checks = make_checks(check)
    info = await checks.load(FakeEngine())
    passing = asyncio.ensure_future(checks.passed(info))
    await asyncio.sleep(0)
    passing.cancel()
    await asyncio.wait([passing])
    assert passing.cancelled()
    checks.close()
    assert not checks._thread.is_alive()  # type: ignore[union-attr]


async def test_checks_that_a_library_breaks_off_are_not_waited_for_for_ever(
    make_checks: Callable[..., Checks],
) -> None:
    async def check() -> None:
        raise asyncio.CancelledError

    checks = make_checks(check)
    with pytest.raises(QueueError, match="broken off"):
        await checks.load(SlowEngine())
    checks.close()


_BLOCKED = """
import asyncio, threading
from backburner.logs import configure
from backburner.storage import Storage
from backburner_schemas.errors import PoolNotFound
from backburner_worker import app, startup_checks
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.settings import WorkerSettings

startup_checks._HEARD_SECONDS = 0.1
configure("info")

class Holding(FakeEngine):
    async def start(self):
        threading.Event().wait()

async def fails():
    raise PoolNotFound("the pool is not registered")

async def main():
    settings = WorkerSettings.load(store_url="memory:///r", engine="fake")
    await startup_checks.Checks(settings, Storage.open(settings), check=fails).load(Holding())

asyncio.run(main())
"""


def test_a_load_that_holds_the_event_loop_ends_with_the_process_and_the_reason() -> None:
    ended = subprocess.run([sys.executable, "-c", _BLOCKED], capture_output=True, text=True, timeout=25, check=False)
    assert ended.returncode == 1, ended.stderr
    assert '"code": "pool_not_found"' in ended.stdout + ended.stderr
    assert "the pool is not registered" in ended.stdout + ended.stderr


# --- the checks themselves ---


async def test_all_the_checks_name_the_pool_that_is_missing(make_checks: Callable[..., Checks]) -> None:
    checks = make_checks()
    with pytest.raises(PoolNotFound, match=r"topics ensure --pool fake"):
        await checks.load(SlowEngine())
    checks.close()


async def test_a_name_that_only_the_engine_knows_is_checked_when_it_is_loaded(
    make_checks: Callable[..., Checks], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_queue(*_: object) -> None:
        pass

    monkeypatch.setattr(startup_checks, "check_source", no_queue)
    await PoolDirectory(storage).register("fake")
    checks = make_checks(pool="fake")
    info = await checks.load(FakeEngine("another"))
    with pytest.raises(PoolNotFound, match="the pool fake is registered for fake and this worker serves another"):
        await checks.passed(info)
    checks.close()


async def test_adapters_are_checked_against_the_name_that_only_the_engine_knows(
    make_checks: Callable[..., Checks], storage: Storage
) -> None:
    async def nothing() -> None:
        pass

    for model in ("another", "two"):
        await PoolDirectory(storage).register(model)
    checks = make_checks(nothing, adapters="two=/none")
    info = await checks.load(FakeEngine("another"))
    with pytest.raises(PoolConflict, match="'two' is the base model"):
        await checks.passed(info)
    checks.close()


@pytest.mark.parametrize("url", ["kafka://127.0.0.1:{}", "sqs://us-east-1?endpoint=http://127.0.0.1:{}"])
async def test_a_queue_that_does_not_answer_yet_is_only_told_of(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens there.
        settings = WorkerSettings.load(store_url="memory:///r", queue_url=url.format(taken.getsockname()[1]))
        await check_source(settings, "fake")
    assert "not answer yet" in caplog.text


async def test_a_pool_belongs_to_one_model(storage: Storage) -> None:
    await PoolDirectory(storage).register("fake")
    await check_pool(storage, "fake", "fake")
    with pytest.raises(PoolNotFound, match="is not registered"):
        await check_pool(storage, "other", "other")


async def test_a_pool_that_is_registered_while_it_is_waited_for_is_found(
    storage: Storage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup_checks, "_LOOK_SECONDS", 0.01)
    waiting = asyncio.create_task(check_pool(storage, "fake", "fake", wait=60.0))
    await until(lambda: "not registered yet" in caplog.text, "the line that says what is waited for")
    assert not waiting.done()
    await PoolDirectory(storage).register("fake")
    await waiting
    assert caplog.text.count("not registered yet") == 1


async def test_a_pool_that_nobody_registers_ends_the_wait(storage: Storage) -> None:
    with pytest.raises(PoolNotFound, match=r"not registered after 0\.05 s; run `backburner topics ensure --pool fake`"):
        await check_pool(storage, "fake", "fake", wait=0.05)


async def test_a_pool_of_another_model_is_not_waited_for(storage: Storage) -> None:
    await PoolDirectory(storage).register("fake")
    with pytest.raises(PoolNotFound, match="registered for fake"):
        await check_pool(storage, "fake", "another", wait=3600.0)


async def test_the_wait_for_the_pool_is_a_setting(make_checks: Callable[..., Checks], storage: Storage) -> None:
    checks = make_checks(pool_wait_seconds=0.05)
    with pytest.raises(PoolNotFound, match=r"after 0\.05 s"):
        await checks.load(SlowEngine())
    checks.close()


async def test_an_adapter_may_not_take_the_name_of_another_pools_model(storage: Storage) -> None:
    for model in ("one", "two"):
        await PoolDirectory(storage).register(model)
    await check_adapters(storage, "one", ["legal"])
    with pytest.raises(PoolConflict, match=r"BACKBURNER_ADAPTERS: 'two' is the base model of the pool two"):
        await check_adapters(storage, "one", ["legal", "two"])
    await PoolDirectory(storage).add_aliases("one", ["chat"])
    with pytest.raises(PoolConflict, match=r"'chat' is an alias of the pool one; .*pools alias one chat --remove"):
        await check_adapters(storage, "one", ["legal", "chat"])


async def test_workers_of_a_pool_with_other_adapters_are_warned_of(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    await PoolDirectory(storage).register("one")
    announced = WorkerAnnouncement(
        worker="w",
        pool="one",
        models=("one",),
        adapters=("b", "a"),
        group="one",
        version="1",
        started_at=1,
        seen_at=1e12,
    )
    await storage.put(keys.worker("one", "w"), announced.model_dump_json().encode())
    await check_adapters(storage, "one", ["a", "b"])
    assert "different adapters" not in caplog.text
    await check_adapters(storage, "one", ["a"])
    assert "different adapters" in caplog.text


async def test_how_long_the_load_took_is_told_to_who_chooses_how_many_suspects_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []

    async def load(engine: FakeEngine, *_: object) -> EngineInfo:
        await asyncio.sleep(0.1)
        return await engine.start()

    def parts(*_: object, load_seconds: float = 0.0, **__: object) -> None:
        told.append(load_seconds)
        raise QueueError("far enough")

    monkeypatch.setattr(app, "_load", load)
    monkeypatch.setattr(app, "Parts", parts)
    monkeypatch.setattr(app, "REGISTRY", CollectorRegistry())
    monkeypatch.setattr(app, "freeze_gc", gc.enable)
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await app.run_worker(worker_settings(http_port=0), notices=[])
    assert [seconds > 0.05 for seconds in told] == [True]
