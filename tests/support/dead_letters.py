"""Dead letters put by hand, and what is stored in a fake system: for unit tests."""

from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.job import JobManifest
from backburner_schemas.letter import StoredDeadLetter

TENANT = "default"


def line(custom_id, text="hello", model="fake"):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


def envelope(job, index, custom_id, *, tenant=TENANT, model="fake", **changes):
    fields = {"tenant": tenant, "job": job, "index": index, **line(custom_id, model=model)}
    return Envelope.model_validate({**fields, **changes})


def letter_of(one, **changes):
    """A letter's bytes, as a worker stores them."""
    letter = StoredDeadLetter(
        code="engine_error", message="it broke", attempts=5, worker="w", queue="q", position="0-1", failed_at=1.7e9
    ).model_copy(update={"envelope": one, **changes})
    return letter.model_dump_json(exclude_none=True).encode()


async def put_letter(system, one, *, at=None, **changes):
    """A letter by hand, as another worker could have left it."""
    key = at or keys.dead_letter(one.tenant, one.job, one.index)
    await system.storage.put(key, letter_of(one, **changes))
    return key


async def all_keys(system, prefix=""):
    return [one.key async for one in system.storage.scan(prefix)]


async def letters(system, **options):
    return [letter async for letter in system.client.dead_letters(**options)]


async def children(system, parent):
    """The jobs that were made from that one."""
    found = []
    for key in await all_keys(system, keys.jobs(TENANT)):
        if key.endswith("/job.json"):
            manifest = JobManifest.model_validate_json((await system.storage.get(key)).data)
            if manifest.parent == parent:
                found.append(manifest.id)
    return found


async def answers(system, job):
    await system.client.job(job).wait(timeout=20)
    return {record.custom_id: record.ok async for record in system.client.job(job).results()}
