"""A dispatcher among hostile objects in the store: other tenants' jobs are sent, and it goes on."""

import json

import pytest
from hostile_objects import HOSTILE_BYTES, hostile_documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import lines

from backburner.dispatcher.claim import Claim, read_cursor
from backburner.dispatcher.pending import PendingJobs
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.job import Cursor, JobManifest, Prefix, StoredInput

EVIL, JOB = "evil", "batch_evil"
INPUT = keys.stored_input(EVIL, JOB)
MANIFEST = JobManifest(
    id=JOB, tenant=EVIL, created_at=1, deadline=4e9, stored=StoredInput(key=INPUT, bytes=100), max_requests=5
)
EXAMPLES = min(60, settings.default.max_examples)
PLACES = {
    "manifest": keys.manifest(EVIL, JOB),
    "cursor": keys.cursor(EVIL, JOB),
    "plan": keys.plan(EVIL, JOB),
    "input": INPUT,
    "seal": keys.sealed(EVIL, JOB),
    "summary": keys.summary(EVIL, JOB),
}


async def put_evil(storage, place, data):
    """A stored job of which one object is hostile; an input says how long it is, as its maker would."""
    manifest = MANIFEST
    if place == "input":
        stored = MANIFEST.stored.model_copy(update={"bytes": len(data)})
        manifest = MANIFEST.model_copy(update={"stored": stored})
    await storage.put(INPUT, b"x" * 100)
    await storage.put(keys.open_job(EVIL, JOB), b"")
    await storage.put(PLACES["manifest"], manifest.model_dump_json().encode())
    await storage.put(PLACES[place], data)
    await storage.put(keys.pending(EVIL, JOB), b"")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("data", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES)
async def test_whatever_is_stored_as_a_jobs_object_other_jobs_are_sent(system, place, data):
    await system.announce()
    await put_evil(system.storage, place, data)
    async with system.client() as client, system.dispatcher():
        job = await client.submit(lines(5), stored=True)
        await system.until_sealed(job)
    assert {message.envelope.tenant for message in system.queue.messages} == {"default"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=EXAMPLES)
@given(st.data())
async def test_whatever_a_jobs_objects_say_it_is_left_alone_or_can_be_claimed(data):
    storage = Storage.open(Settings(store_url="memory:///"))
    cursor = Cursor(count=3, total=5, pools=("fake",), pool_counts=(5,), first=Prefix(count=1, sha256="x"))
    await put_evil(storage, "manifest", data.draw(hostile_documents(json.loads(MANIFEST.model_dump_json()))))
    await storage.put(PLACES["cursor"], data.draw(hostile_documents(json.loads(cursor.model_dump_json()))))
    pending = PendingJobs(storage)
    await pending.look(())
    for job in pending:
        assert job.key == (EVIL, JOB)
        assert keys.is_input_of(job.manifest.stored.key, EVIL, JOB)
    try:
        found = await read_cursor(storage, (EVIL, JOB))
    except StoredObjectBroken as error:
        assert PLACES["cursor"] in error.message  # noqa: PT017 - either way is right
    else:
        assert await Claim(storage, (EVIL, JOB), "me", seconds=60).take(found)
