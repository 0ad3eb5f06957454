"""LoRA adapters from end to end: a name leads to the pool that announces it, and to answers of its own."""

import pytest
from live import lines
from waiting import until

from backburner import InvalidInput, RequestRefused

pytestmark = [pytest.mark.broker, pytest.mark.store]


async def test_an_adapters_name_leads_to_its_pool_and_its_own_answers(stack, client):
    await stack.make_pool("tuned")
    tuned = stack.worker("tuned", BACKBURNER_ADAPTERS="legal=/none, tuned-chat=/none")
    with pytest.raises(InvalidInput, match="BACKBURNER_ADAPTERS"):
        await client.submit(lines(1, model="tuned-chit"))

    async def announced():
        (status,) = [one for one in await client.pools() if one.pool == "tuned"]
        return status.adapters == ("legal", "tuned-chat")

    await until(announced, "the adapters' announcement")
    models = ("tuned", "legal", "tuned-chat")
    named = [one for model in models for one in lines(3, model=model, prefix=model)]
    job = await client.submit(named)
    assert not job.warnings
    assert (await job.wait(timeout=60)).request_counts.completed == len(named)
    records = {record.custom_id: record async for record in job.results()}
    assert {record.backburner.pool for record in records.values()} == {"tuned"}
    for number in range(3):
        asked = {model: records[f"{model}{number}"] for model in models}
        assert [record.response.body["model"] for record in asked.values()] == [*models]
        assert len({record.text for record in asked.values()}) == 3

    # Whoever names the pool by hand learns it at once.
    with pytest.raises(RequestRefused, match="no worker of pool tuned serves 'tuned-chit'"):
        await client.submit(lines(1, model="tuned-chit"), pool="tuned")
    tuned.stop()


async def test_an_alias_that_a_running_pool_is_given_is_answered_by_its_model(stack, client):
    await stack.make_pool("renamed")
    worker = stack.worker("renamed")
    await until(worker.is_warm, "a warm worker")
    await client.add_aliases("renamed", ["gpt-4o-mini"])
    job = await client.submit(lines(2, model="gpt-4o-mini"))
    assert (await job.wait(timeout=60)).request_counts.completed == 2
    records = [record async for record in job.results()]
    assert {record.response.body["model"] for record in records} == {"renamed"}
    assert {(one.backburner.model, one.backburner.requested_model) for one in records} == {("renamed", "gpt-4o-mini")}
    worker.stop()
