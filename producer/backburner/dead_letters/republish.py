"""Puts the letters of streams and single requests back onto the queue, under their own address.

A worker may give up such a request again, and then writes its letter to the same key. So a letter is moved aside
before its request is published, and never removed afterwards: what is stored at the key by then is the new one.
"""

from collections.abc import Callable, Sequence

from backburner.connections import Connections
from backburner.dead_letters.letter import DeadLetter, DeadLetterRef, read_letter, write_letter
from backburner.dead_letters.request_line import LetterNotSent, line_of, why_kept
from backburner.dead_letters.store import DeadLetterStore
from backburner.logs import get_logger
from backburner.publishers.base import Message
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner.submission.envelopes import claim_check
from backburner.submission.options import Deadline, resolve_deadline
from backburner.submission.sender import publish
from backburner_schemas import keys
from backburner_schemas.errors import MessageTooLarge, PoolNotFound, QueueError, RequestRefused
from backburner_schemas.job import DEFAULT_DEADLINE_SECONDS
from backburner_schemas.names import Lane
from backburner_schemas.request import parse_request

log = get_logger(__name__)


class Republisher:
    """Sends letters of one stream or single request again. Call `restore` before the first `send`."""

    def __init__(
        self,
        connections: Connections,
        store: DeadLetterStore,
        tenant: str,
        job: str,
        deadline: Deadline | None,
        *,
        now: float,
    ) -> None:
        """`now` is in Unix seconds by the store's clock."""
        self._connections = connections
        self._storage = connections.storage
        self._store = store
        self._tenant = tenant
        self._job = job
        self._has_deadline = deadline is not None
        self._now = now
        self._until = resolve_deadline(
            DEFAULT_DEADLINE_SECONDS if deadline is None else deadline, self._now, connections.settings
        )
        self.pools: set[str] = set()
        """The pools that something was sent to."""

    async def restore(self) -> None:
        """Put back the letters that an unfinished redrive has moved aside."""
        async for one in self._storage.scan(keys.redrives(self._tenant, self._job)):
            await self._put_back(one.key)

    async def send(self, letters: Sequence[DeadLetter], keep: Callable[[LetterNotSent], None]) -> int:
        """Publish these letters' requests and remove the letters. Returns how many; those that cannot be sent are kept.

        Raises `QueueError`, with the letters back at their places, and `StoreError`.
        """
        ready: list[Message] = []
        moved: list[DeadLetter] = []
        for letter in letters:
            try:
                ready.append(await self._message(letter))
                moved.append(letter)
            except (RequestRefused, PoolNotFound) as error:
                keep(why_kept(letter, error.message))
        if not ready:
            return 0
        aside = keys.redrive_batch(self._tenant, self._job, keys.new_ulid())
        await self._storage.put(aside, b"\n".join(write_letter(letter) for letter in moved))
        await self._store.remove(DeadLetterRef(self._tenant, self._job, letter.index) for letter in moved)
        try:
            await publish(await self._connections.publisher(), self._storage, ready)
        except (QueueError, MessageTooLarge):
            await self._put_back(aside)
            raise
        await self._storage.delete([aside])
        self.pools |= {message.pool for message in ready}
        return len(ready)

    async def _message(self, letter: DeadLetter) -> Message:
        """A first delivery to the pool of its model. Raises `RequestRefused`, `PoolNotFound` and `StoreError`."""
        if letter.envelope is None:
            raise RequestRefused("it holds no envelope that could be sent again; purge it")
        max_bytes = self._connections.settings.max_body_bytes
        line = await line_of(self._storage, letter.envelope, max_bytes=max_bytes)
        request = parse_request(line, max_bytes=max_bytes)
        pool = await self._connections.pools.pool_for(request.model)
        # A request that never had a deadline gets none, unless one was passed.
        until = self._until if self._has_deadline or letter.envelope.deadline is not None else None
        envelope = letter.envelope.model_copy(update={"deadline": until, "enqueued_at": self._now})
        message = Message(pool, Lane.NORMAL, envelope)
        if envelope.body is None:
            return message
        return await claim_check(self._storage, message, self._connections.settings.queue.kind)

    async def _put_back(self, aside: str) -> None:
        stored = await self._storage.get(aside, max_bytes=MAX_RECORDS_BYTES)
        unknown = list[bytes]()
        for line in stored.data.splitlines() if stored is not None else ():
            no_ref = DeadLetterRef(self._tenant, self._job)
            envelope = read_letter(no_ref, line).envelope
            ref = DeadLetterRef(self._tenant, self._job, envelope.index) if envelope is not None else no_ref
            if (problem := read_letter(ref, line).problem) is not None:
                log.warning("object moved aside is not a letter; leaving it there", key=aside, reason=problem)
                unknown.append(line)
                continue
            # A worker may have given the request up again meanwhile; its letter is the newer one.
            await self._storage.create(ref.key, line)
        if unknown:
            # A newer release may have written them.
            await self._storage.put(aside, b"\n".join(unknown))
        else:
            await self._storage.delete([aside])
