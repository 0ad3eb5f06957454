"""What the answers of all calls take in memory together: bounded, told to who finds none, and given back."""

import json
from contextlib import AsyncExitStack, ExitStack, aclosing

import pytest
import segments
from gateway import batch_lines, gateway_over

from backburner.gateway.answer_memory import MAX_ANSWERS_BYTES
from backburner.gateway.batches.results import ResultFile, ResultKind
from backburner.runtime.memory_budget import MemoryBudget
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import Overloaded

CHAT = "/v1/async/chat/completions"
BODY = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system) as made:
        # Whoever finds no memory is told at once.
        made.parts.answer_memory._seconds = 0.0
        yield made


async def full(budget: MemoryBudget) -> ExitStack:
    """The whole budget taken, and what is beyond it too."""
    stack = ExitStack()
    for _ in range(2):
        await stack.enter_context(budget.share()).take(MAX_ANSWERS_BYTES)
    return stack


async def answer(gateway, client, text="Hi", tenant="default"):
    """The place of a single request whose stored answer says so."""
    place = (await client.post(CHAT, json=BODY)).headers["location"]
    request_id = place.rpartition("/")[2]
    key = keys.answer(tenant, request_id, request_id)
    record = json.loads((await gateway.storage.get(key)).data)
    record["response"]["body"]["choices"][0]["message"]["content"] = text
    await gateway.storage.put(key, json.dumps(record).encode())
    return place


@pytest.mark.parametrize("size", [2, 1 << 20])
async def test_an_answer_for_which_there_is_no_memory_is_told_to_come_again(gateway, size):
    client = await gateway.client()
    place = await answer(gateway, client, "x" * size)
    budget = gateway.parts.answer_memory.budget
    with await full(budget):
        told = await client.get(place)
        assert (told.status_code, told.json()["error"]["code"]) == (503, Overloaded.code)
        assert int(told.headers["retry-after"]) > 0
    assert len((await client.get(place)).json()["choices"][0]["message"]["content"]) == size
    # Told or answered, it holds nothing afterwards.
    assert budget.used == 0


async def test_a_large_answer_counts_as_what_it_takes_while_it_is_read_and_sent(gateway, monkeypatch):
    client, most = await gateway.client(), 0
    place = await answer(gateway, client, "x" * (1 << 20))
    budget = gateway.parts.answer_memory.budget
    get = type(gateway.storage).get

    async def seen(self, key, **more):
        nonlocal most
        most = max(most, budget.used)
        return await get(self, key, **more)

    monkeypatch.setattr(type(gateway.storage), "get", seen)
    assert (await client.get(place)).status_code == 200
    assert most > 3 << 20


async def test_an_answer_that_would_be_parsed_into_far_more_than_it_has_is_not_parsed(gateway):
    client = await gateway.client()
    place = await answer(gateway, client)
    request_id = place.rpartition("/")[2]
    key = keys.answer("default", request_id, request_id)
    record = (await gateway.storage.get(key)).data
    nested = b"[" + b"[]," * 2_000_000 + b"0]"
    await gateway.storage.put(key, record.replace(b'"object"', b'"x":%b,"object"' % nested, 1))
    assert (await client.get(place)).status_code == 503


async def test_a_download_for_which_there_is_no_memory_is_told_to_come_again_and_holds_none_afterwards(gateway):
    client = await gateway.client()
    upload = await client.post("/v1/files", files={"file": ("a", batch_lines(3))}, data={"purpose": "batch"})
    wanted = {"input_file_id": upload.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    job = (await client.post("/v1/batches", json=wanted)).json()["id"]
    await gateway.dispatch(job)
    output = (await client.get(f"/v1/batches/{job}")).json()["output_file_id"]
    budget = gateway.parts.answer_memory.budget
    with await full(budget):
        told = await client.get(f"/v1/files/{output}/content")
        assert (told.status_code, told.json()["error"]["code"]) == (503, Overloaded.code)
    assert (await client.get(f"/v1/files/{output}/content")).text.count("\n") == 3
    assert budget.used == 0


async def test_slow_downloads_of_one_tenant_make_only_its_own_wait(gateway):
    client, other = await gateway.client(), await gateway.client("other")
    upload = await client.post("/v1/files", files={"file": ("a", batch_lines(3))}, data={"purpose": "batch"})
    wanted = {"input_file_id": upload.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    job = (await client.post("/v1/batches", json=wanted)).json()["id"]
    for number in range(3):
        text = "x" * 10_000
        await segments.store(
            gateway.system, [segments.answered(number, text)], job=job, writer="0" * 26, sequence=number
        )
    place = await answer(gateway, other, tenant="other")
    memory = gateway.parts.answer_memory
    memory._tenant_limit = 25_000
    results, file = gateway.parts.results("default"), ResultFile(job, ResultKind.OUTPUT)
    async with AsyncExitStack() as slow:
        for _ in range(2):
            lines = await slow.enter_async_context(aclosing(results.lines(file, await results.find(file), memory)))
            assert await anext(lines)
        # The second is the one that may always go on, and none holds more than what it hands on.
        assert memory.of("default").used < 2 * 2 * 10_500
        with pytest.raises(Overloaded):
            await anext(results.lines(file, await results.find(file), memory))
        assert (await other.get(place)).status_code == 200
    assert memory.budget.used == 0
