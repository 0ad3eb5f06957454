"""Engines that die, and workers that die and leave an engine behind: real processes, really killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from processes import is_running

from backburner.local.model import prepare_auto_model
from backburner_schemas.errors import EngineError, EngineLost
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.generation.engine_watch import EngineWatch
from backburner_worker.generation.time_limit import TimeLimit

START_SECONDS = 180
END_SECONDS = 30

FAKE_OWNER = """
import asyncio
from backburner_worker.engine.fake.process import FakeProcessEngine

async def main():
    engine = FakeProcessEngine()
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""

VLLM_OWNER = """
import asyncio
import sys
from backburner_schemas.errors import EngineLost
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.vllm.engine import VllmEngine

ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16"
)

def request(name):
    body = {"model": "m", "prompt": "Once", "max_tokens": 500, "ignore_eos": True}
    return EngineRequest(name, Endpoint.COMPLETIONS, body)

async def main():
    engine = VllmEngine(sys.argv[1], ARGS, "m")
    await engine.start()
    running = [asyncio.create_task(engine.run(request(f"r{n}"))) for n in range(4)]
    print(*engine.core_pids(), flush=True)
    errors = await asyncio.gather(*running, return_exceptions=True)
    try:
        await engine.run(request("late"))
    except EngineLost as error:
        errors.append(error)
    print(*(type(error).__name__ for error in errors), engine.lost, flush=True)
    await engine.close(30)
    print("closed", flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


HUNG_VLLM_OWNER = """
import asyncio
import sys
from types import SimpleNamespace
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.vllm.engine import VllmEngine
from backburner_worker.generation.engine_watch import EngineWatch
from backburner_worker.generation.time_limit import TimeLimit

ARGS = (
    "--max-model-len 2048 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16"
)

async def main():
    engine = VllmEngine(sys.argv[1], ARGS, "m")
    await engine.start()
    inside = [SimpleNamespace(entered=True, entered_at=1.0, began_at=None, aborted=None, body=None)]
    watching = asyncio.create_task(EngineWatch(engine, 3.0, TimeLimit()).lost(inside))
    body = {"model": "m", "prompt": "Once", "max_tokens": 2000, "ignore_eos": True}
    before = engine.progress()
    running = asyncio.create_task(engine.run(EngineRequest("r", Endpoint.COMPLETIONS, body)))
    while engine.progress() < before + 3:
        await asyncio.sleep(0.01)
    assert not watching.done()
    print(*engine.core_pids(), flush=True)
    print((await watching).message, flush=True)
    running.cancel()
    await asyncio.wait([running], timeout=10)
    print("broken off", running.cancelled(), flush=True)
    await engine.close(0)
    print("closed", flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


@contextlib.contextmanager
def owner(tmp_path, source, *arguments):
    """A process that owns an engine, and the ids that it printed once the engine was up."""
    script = tmp_path / "owner.py"
    script.write_text(source)
    command = [sys.executable, str(script), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            pids = [int(word) for word in process.stdout.readline().split()]
            assert pids, "the engine did not start; see the captured stderr"
            yield process, pids
        finally:
            process.kill()


def assert_ends(pids):
    deadline = time.monotonic() + END_SECONDS
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def chat(text, request_id="r1"):
    messages = [{"role": "user", "content": text}]
    return EngineRequest(request_id, Endpoint.CHAT, {"model": "fake", "messages": messages})


async def started():
    engine = FakeProcessEngine()
    await engine.start()
    return engine


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_child_is_told_to_all_in_flight_at_once(number):
    engine = await started()
    running = [asyncio.ensure_future(engine.run(chat("[[hang]]", f"r{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    os.kill(engine.pid, number)
    async with asyncio.timeout(END_SECONDS):
        errors = await asyncio.gather(*running, return_exceptions=True)
    assert [type(error) for error in errors] == [EngineLost] * 5
    assert engine.lost
    with pytest.raises(EngineLost):
        await engine.run(chat("late"))
    await engine.close(0)


async def test_a_child_that_stands_still_shows_no_progress_and_can_be_closed():
    engine = await started()
    async with asyncio.timeout(END_SECONDS):
        first = engine.progress()
        while engine.progress() == first:  # noqa: ASYNC110 - only the child knows
            await asyncio.sleep(0.01)
        running = asyncio.ensure_future(engine.run(chat("[[hang]]")))
        os.kill(engine.pid, signal.SIGSTOP)
        watch = EngineWatch(engine, 2.0, TimeLimit())
        inside = [SimpleNamespace(entered=True, entered_at=1.0, began_at=None, aborted=None, body=None)]
        assert "2 s" in (await watch.lost(inside)).message
        running.cancel()
        await asyncio.wait([running])
        await engine.close(0)
    assert_ends([engine.pid])


async def test_a_child_that_dies_idle_is_noticed():
    engine = await started()
    os.kill(engine.pid, signal.SIGKILL)
    async with asyncio.timeout(END_SECONDS):
        await engine._reader
    assert engine.lost
    await engine.close(0)


async def test_a_deadly_prompt_kills_the_child_for_real():
    engine = await started()
    with pytest.raises(EngineLost):
        await engine.run(chat("[[die]]"))
    assert_ends([engine.pid])
    await engine.close(0)


async def test_a_request_that_comes_back_while_its_first_run_goes_on_has_an_answer_of_its_own():
    engine = await started()
    first = asyncio.ensure_future(engine.run(chat("[[hang]]")))
    second = asyncio.ensure_future(engine.run(chat("[[slow:0.5]]")))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(END_SECONDS):
        assert (await second).status_code == 200
    await engine.close(0)


async def test_closing_leaves_no_child():
    engine = await started()
    await engine.close(0)
    assert_ends([engine.pid])
    assert not engine.lost


async def test_a_child_that_cannot_start_is_an_engine_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    engine = FakeProcessEngine()
    with pytest.raises(EngineError, match="before it was ready"):
        await engine.start()
    await engine.close(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_does_not_outlive_its_owner(tmp_path, number):
    with owner(tmp_path, FAKE_OWNER) as (process, pids):
        process.send_signal(number)
        process.wait(END_SECONDS)
        assert_ends(pids)


def test_a_terminals_ctrl_c_does_not_reach_the_child(tmp_path):
    with owner(tmp_path, FAKE_OWNER) as (process, pids):
        assert [os.getsid(pid) for pid in pids] != [os.getsid(process.pid)]


@pytest.mark.vllm
@pytest.mark.timeout(START_SECONDS + 2 * END_SECONDS)
def test_a_killed_engine_core_is_told_to_all_in_flight_and_closing_returns(tmp_path):
    with owner(tmp_path, VLLM_OWNER, prepare_auto_model()) as (process, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=END_SECONDS)
        assert output.splitlines() == [" ".join(["EngineLost"] * 5 + ["True"]), "closed"]
        assert process.returncode == 0


@pytest.mark.vllm
@pytest.mark.timeout(START_SECONDS + 2 * END_SECONDS)
def test_an_engine_core_that_stands_still_is_found_out_and_closing_ends_it(tmp_path):
    with owner(tmp_path, HUNG_VLLM_OWNER, prepare_auto_model()) as (process, pids):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        output, _ = process.communicate(timeout=2 * END_SECONDS)
        found, *rest = output.splitlines()
        assert "no progress for 3 s" in found
        assert rest == ["broken off True", "closed"]
        assert process.returncode == 0
        assert_ends(pids)


@pytest.mark.vllm
@pytest.mark.timeout(START_SECONDS + 2 * END_SECONDS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_engine_core_outlives_its_worker(tmp_path, number):
    with owner(tmp_path, VLLM_OWNER, prepare_auto_model()) as (process, pids):
        process.send_signal(number)
        process.wait(END_SECONDS)
        assert_ends(pids)
