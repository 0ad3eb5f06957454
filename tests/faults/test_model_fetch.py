"""`backburner-worker fetch-model` that is killed, given other bytes than it should get, or started twice at once."""

import asyncio
import json
import random
import signal
import sys
from hashlib import sha256
from urllib.parse import urlsplit

import pytest
from counting_proxy import CountingProxy
from waiting import until

from backburner.local.programs.child import clean_environment

pytestmark = [pytest.mark.store]

PART = 64 * 1024
IN_FLIGHT = 4
HEADERS = 100_000
"""Bytes beside the files' own: headers, the listing, the sums."""

# The command as it is, but with parts that are small beside a small model.
_SMALL_PARTS = f"""
import sys
from backburner_worker.model_fetch import fetch
from backburner_worker.model_fetch.file_download import PartLimits
whole = fetch.PartLimits
fetch.PartLimits = lambda *given: whole(*given) if given else whole({PART}, {IN_FLIGHT})
sys.argv[1:] = ["fetch-model"]
from backburner_worker.__main__ import main
main()
"""


@pytest.fixture
def model():
    """The files of a model, and the sums as `sha256sum` writes them."""
    numbers = random.Random(13)
    files = {f"model-0000{number}.safetensors": numbers.randbytes(1_500_000) for number in range(1, 4)}
    files |= {"config.json": b'{"model_type": "llama"}', "original/notes.txt": numbers.randbytes(1000)}
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()
    return {**files, "SHA256SUMS": sums}


@pytest.fixture
async def fetches(stack, tmp_path, request):
    """Starts `fetch-model` from a folder of the store that is its own, through a proxy; kills what is left of it."""
    async with CountingProxy(urlsplit(stack.store.endpoint).port) as proxy:
        made = Fetches(stack, tmp_path, proxy, request.node.name)
        yield made
        for process in made.started:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Fetches:
    def __init__(self, stack, folder, proxy, name):
        self.proxy = proxy
        self._stack = stack
        self._key = f"models/{name}"
        self.model = folder / "volume" / "chat"
        self._logs = folder
        self.started = []

    async def upload(self, files):
        storage = self._stack.storage()
        for name, data in files.items():
            await storage.put(f"{self._key}/{name}", data)

    async def start(self, **settings):
        env = clean_environment(
            **self._stack.env,
            BACKBURNER_MODEL=str(self.model),
            BACKBURNER_MODEL_SOURCE=f"{self._stack.env['BACKBURNER_STORE_URL']}/{self._key}",
            BACKBURNER_MODEL_ENDPOINT=f"http://127.0.0.1:{self.proxy.port}",
            **settings,
        )
        log = self._logs / f"{len(self.started)}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _SMALL_PARTS, env=env, stdout=file, stderr=file
            )
        process.log = log
        self.started.append(process)
        return process

    async def run(self, **settings):
        process = await self.start(**settings)
        return await process.wait(), said(process)


def said(process):
    return [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".backburner-model.json"
    }


def size(files):
    return sum(map(len, files.values()))


async def test_kill_9_in_the_middle_goes_on_from_there(fetches, model):
    await fetches.upload(model)
    for _ in range(2):
        fetches.proxy.hold_after(1_600_000)
        process = await fetches.start()
        await until(lambda: fetches.proxy.held, "the middle of the fetch")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert not fetches.model.exists()
        fetches.proxy.go_on()
    status, log = await fetches.run()
    assert status == 0, log
    assert content(fetches.model) == model
    assert log[-1]["kept_gb"] > 0.001
    # Each kill cost what was on its way, and no more.
    assert fetches.proxy.sent <= size(model) + 2 * IN_FLIGHT * PART + 3 * HEADERS
    # Nothing is left beside it but the lock.
    assert {path.name for path in fetches.model.parent.iterdir()} == {"chat", ".lock-chat"}


async def test_a_wrong_checksum_is_never_visible_and_costs_that_file_alone(fetches, model):
    wrong = {**model, "model-00002.safetensors": b"x" * 1_500_000}
    await fetches.upload(wrong)
    status, log = await fetches.run()
    assert status == 1
    assert log[-1]["code"] == "model_checksum_wrong"
    assert "model-00002.safetensors" in log[-1]["error"]
    assert not fetches.model.exists()
    await fetches.upload(model)
    status, log = await fetches.run()
    assert status == 0, log
    assert content(fetches.model) == model
    assert fetches.proxy.sent <= size(model) + 1_500_000 + IN_FLIGHT * PART + 2 * HEADERS


async def test_sums_that_were_changed_too_are_found_by_their_own_checksum(fetches, model):
    await fetches.upload(model)
    status, log = await fetches.run(BACKBURNER_MODEL_CHECKSUM="0" * 64)
    assert status == 1
    assert log[-1]["code"] == "model_checksum_wrong"
    assert not fetches.model.exists()


async def test_two_at_once_make_one_download(fetches, model):
    await fetches.upload(model)
    fetches.proxy.hold_after(800_000)
    first = await fetches.start()
    await until(lambda: fetches.proxy.held, "the middle of the fetch")
    second = await fetches.start()
    await until(lambda: any("another process fetches" in line["event"] for line in said(second)), "one that waits")
    fetches.proxy.go_on()
    assert await first.wait() == 0
    assert await second.wait() == 0
    assert said(second)[-1]["event"] == "model is there; nothing fetched"
    assert content(fetches.model) == model
    assert fetches.proxy.sent <= size(model) + HEADERS


async def test_one_that_waits_goes_on_when_the_other_is_killed(fetches, model):
    await fetches.upload(model)
    fetches.proxy.hold_after(800_000)
    first = await fetches.start()
    await until(lambda: fetches.proxy.held, "the middle of the fetch")
    second = await fetches.start()
    await until(lambda: any("another process fetches" in line["event"] for line in said(second)), "one that waits")
    first.send_signal(signal.SIGKILL)
    fetches.proxy.go_on()
    assert await second.wait() == 0
    assert content(fetches.model) == model
    assert fetches.proxy.sent <= size(model) + IN_FLIGHT * PART + 2 * HEADERS


async def test_sigterm_ends_it_at_once_and_what_is_there_stays(fetches, model):
    await fetches.upload(model)
    fetches.proxy.hold_after(1_600_000)
    process = await fetches.start()
    await until(lambda: fetches.proxy.held, "the middle of the fetch")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 128 + signal.SIGTERM
    assert "goes on from what was fetched" in said(process)[-1]["event"]
    fetches.proxy.go_on()
    status, log = await fetches.run()
    assert status == 0
    assert log[-1]["kept_gb"] > 0
