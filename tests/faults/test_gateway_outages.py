"""Store or broker away under a gateway: callers are told to come again, nothing acknowledged is lost, it goes on."""

import asyncio
import os
import signal

import httpx2
import pytest
from gateway import batch_lines
from waiting import PATIENCE, until

from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope

pytestmark = [pytest.mark.broker, pytest.mark.store]

ASYNC = "/v1/async/chat/completions"
BODY = {"model": "outage", "messages": [{"role": "user", "content": "Hello"}]}
WANTED = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.fixture
async def http(stack):
    """A gateway that gives up early, with a worker and a dispatcher behind it, and a caller of it."""
    await stack.make_pool("outage")
    gateway = stack.gateway(BACKBURNER_GATEWAY_ANSWER_SECONDS="2")
    await stack.warm(stack.worker("outage"), stack.dispatcher(), gateway)
    secret, _ = await ApiKeyStore(stack.storage()).create("default", "outage", (Scope.READ, Scope.WRITE))
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=PATIENCE) as client:
        client.process = gateway
        assert (await client.get("/v1/models")).status_code == 200
        yield client


async def upload(http, count):
    return await http.post(
        "/v1/files", files={"file": ("a", batch_lines(count, model="outage"))}, data={"purpose": "batch"}
    )


async def uploaded(http):
    """The ids of what was uploaded; those of results come and go with the batches of other tests."""
    return [file["id"] for file in (await http.get("/v1/files", params={"purpose": "batch"})).json()["data"]]


def assert_told_to_come_again(answer):
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["type"] == "server_error"


async def completed(http, batch, count):
    async def done():
        answer = await http.get(f"/v1/batches/{batch}")
        return answer.status_code == 200 and answer.json()["status"] == "completed" and answer.json()

    assert (await until(done, "a completed batch"))["request_counts"]["completed"] == count


async def test_a_store_that_hangs_is_told_and_what_was_acknowledged_before_it_is_done(stack, http):
    file = (await upload(http, 200)).json()["id"]
    batch = (await http.post("/v1/batches", json={**WANTED, "input_file_id": file})).json()["id"]
    os.kill(stack.store.child.pid, signal.SIGSTOP)
    try:
        refused = await asyncio.gather(
            http.get("/v1/files"),
            http.get(f"/v1/batches/{batch}"),
            http.post("/v1/batches", json={**WANTED, "input_file_id": file}, headers={"idempotency-key": "k"}),
        )
        await until(lambda: http.process.page("/readyz")[0] == 503, "a gateway that is not ready")
    finally:
        os.kill(stack.store.child.pid, signal.SIGCONT)
    for answer in refused:
        assert_told_to_come_again(answer)
    await until(lambda: http.process.page("/readyz")[0] == 200, "a gateway that is ready again")
    await completed(http, batch, 200)
    # The call that was refused may have been kept or not: the same key makes one batch of it in either case.
    again = [
        await http.post("/v1/batches", json={**WANTED, "input_file_id": file}, headers={"idempotency-key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in again] == [200, 200]
    assert again[0].json()["id"] == again[1].json()["id"]
    listed = (await http.get("/v1/batches")).json()["data"]
    assert {one["id"] for one in listed} == {batch, again[0].json()["id"]}


async def test_an_upload_while_the_store_is_killed_is_refused_and_shows_no_file(stack, http):
    before = await uploaded(http)
    os.kill(stack.store.child.pid, signal.SIGKILL)
    await until(lambda: not stack.store.child.running, "the store's end")
    try:
        answer = await upload(http, 100)
    finally:
        stack.store.start()
    assert_told_to_come_again(answer)

    async def goes_on():
        return (await http.get("/v1/files")).status_code == 200

    await until(goes_on, "a gateway that goes on")
    assert await uploaded(http) == before
    assert (await upload(http, 100)).status_code == 200
    assert http.process.exit_status is None


async def test_a_broker_that_hangs_refuses_single_requests_alone_and_none_acknowledged_is_lost(stack, http):
    kept = [await http.post(ASYNC, json=BODY) for _ in range(5)]
    assert {answer.status_code for answer in kept} == {202}
    os.kill(stack.broker.child.pid, signal.SIGSTOP)
    try:
        assert_told_to_come_again(await http.post(ASYNC, json=BODY))
        # Files and batches need no queue.
        assert (await upload(http, 3)).status_code == 200
        assert (await http.get("/v1/batches")).status_code == 200
    finally:
        os.kill(stack.broker.child.pid, signal.SIGCONT)

    async def taken():
        answer = await http.post(ASYNC, json=BODY)
        return answer.status_code == 202 and answer

    kept.append(await until(taken, "a gateway that goes on"))

    async def answered(place):
        return (await http.get(place)).status_code == 200

    for answer in kept:
        place = answer.headers["location"]
        await until(lambda place=place: answered(place), "an answer")
