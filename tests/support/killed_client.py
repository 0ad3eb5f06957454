"""A client whose process is killed at any step: nothing that it does afterwards has an effect. For unit tests."""

from backburner.client import Client
from backburner.storage import Storage


class Killed(BaseException):
    """The process is gone: nothing it does any more has an effect."""


class Life:
    """How many steps that change something a process gets to do; the last one may still take effect.

    That leaves what one step more leaves whose last has none, so a test that tries every number tries one of the two.
    """

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
