"""Dead letters put by hand, what lies in a fake system, and processes that are killed at any step: for unit tests."""

from backburner.client import Client
from backburner.storage import Storage
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


async def put_letter(system, one, *, at=None, **changes):
    """A letter by hand, as another worker could have left it."""
    letter = StoredDeadLetter(
        code="engine_error", message="it broke", attempts=5, worker="w", queue="q", position="0-1", failed_at=1.7e9
    ).model_copy(update={"envelope": one, **changes})
    key = at or keys.dead_letter(one.tenant, one.job, one.index)
    await system.storage.put(key, letter.model_dump_json(exclude_none=True).encode())
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


# --- a crash at any step ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing it does any more has an effect."""


class Life:
    """How many steps that change something a process gets to do; the last one may still take effect."""

    def __init__(self, steps, *, last_counts):
        self.left = steps
        self.last_counts = last_counts
        self.over = False

    async def step(self, work):
        if self.over:
            raise Killed
        self.left -= 1
        if self.left >= 0:
            return await work()
        self.over = True
        if self.last_counts:
            await work()
        raise Killed


class DyingStorage(Storage):
    def __init__(self, storage, life):
        super().__init__(storage._store)
        self._life = life

    async def put(self, key, data):
        await self._life.step(lambda: Storage.put(self, key, data))

    async def create(self, key, data):
        return await self._life.step(lambda: Storage.create(self, key, data))

    async def replace(self, key, data, etag):
        return await self._life.step(lambda: Storage.replace(self, key, data, etag))

    async def delete(self, found):
        found = list(found)
        return await self._life.step(lambda: Storage.delete(self, found))


class DyingPublisher:
    def __init__(self, system, life):
        self._system = system
        self._life = life

    async def start(self):
        pass

    async def publish(self, messages):
        await self._life.step(lambda: self._system._accept(messages))

    async def close(self):
        pass


async def killed_after(system, steps, last_counts, work):
    """Whether a process that does the work was killed after that many steps."""
    life = Life(steps, last_counts=last_counts)
    client = Client.from_parts(system.settings, DyingStorage(system.storage, life), DyingPublisher(system, life))
    try:
        await work(client)
    except Killed:
        return True
    return life.over
