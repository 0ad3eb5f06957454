"""The handle of one request: knows the key of its answer, and polls it. Any process can make one from its id."""

import time
from collections.abc import Sequence

from backburner.connections import Connections
from backburner.jobs.polling import MEASURE_AFTER_SECONDS, Patience, PollPace
from backburner.storage.parse import read_stored
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner_schemas import errors, keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import Expired, JobError, StoreError
from backburner_schemas.result import ResultRecord, error_record

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class RequestFailed(errors.RequestFailed):
    """The request ended with an error; its record has the details."""

    def __init__(self, record: ResultRecord) -> None:
        error = record.error
        super().__init__(
            f"request {record.custom_id} failed: {error.message} ({error.code})" if error is not None else None,
            param=error.param if error is not None else None,
        )
        self.record = record
        """The error record, as it is stored."""


class Handle:
    """One request that was enqueued by itself.

    `id` is all that another process needs: `client.handle(id)` is the same handle there.

        handle = await client.enqueue("What is the capital of Japan?", temperature=0)
        later = client.handle(handle.id)
        print((await later.result(timeout=600)).text)
    """

    def __init__(
        self,
        connections: Connections,
        tenant: str,
        job: str,
        custom_id: str,
        *,
        warnings: Sequence[str] = (),
        deadline: float | None = None,
    ) -> None:
        self._connections = connections
        self.tenant = tenant
        """The tenant that the request belongs to."""
        self.job = job
        """Id of the request's own job, `single-…`, or of the stream that it is in."""
        self.custom_id = custom_id
        """The request's own; the job's id where none was given."""
        self.warnings: Sequence[str] = tuple(warnings)
        """What may delay the answer, such as a pool without a worker; known where it was enqueued."""
        self.deadline: float | None = deadline if deadline is not None else self._latest_deadline()
        """Unix seconds after which the request is not started any more. Of a handle that was made from its id, the
        latest that it can have: the moment at which the queue has dropped the request. None if that is not known."""

    def __repr__(self) -> str:
        return f"Handle({self.id!r}, tenant={self.tenant!r})"

    @property
    def id(self) -> str:
        """The job's id, with `/` and the custom_id behind it where that is another."""
        return self.job if self.custom_id == self.job else f"{self.job}/{self.custom_id}"

    @property
    def key(self) -> str:
        """Key of the object that holds the answer, relative to the store's root: one GET reads it."""
        return keys.answer(self.tenant, self.job, self.custom_id)

    async def peek(self) -> ResultRecord | None:
        """Look for the answer once, without waiting.

        Returns the record, a response or an error; None if there is none yet. Raises `StoreError`.

            record = await handle.peek()
            print("not yet" if record is None else record.text)
        """
        async with self._connections.bounded(f"the store did not say whether {self.id} is answered", job=self.job):
            return await self._read()

    async def cancel(self) -> ResultRecord | None:
        """Have the request not run any more, if it has no answer yet; a live worker drops it within seconds.

        Returns the answer, if it has one already; else None, and `result` raises `RequestFailed` with the code
        `cancelled` once a worker has seen the cancel. Raises `JobError` for a handle of a stream.

            await handle.cancel()
        """
        if not self.job.startswith(keys.SINGLE):
            raise JobError(
                f"{self.job} is no single request, and a cancel of it would end others too; see client.job(…).cancel()"
            ).of_job(self.job)
        async with self._connections.bounded(f"the request {self.id} was not cancelled", job=self.job):
            record = await self._read()
            if record is None:
                await self._connections.storage.create(keys.cancelled(self.tenant, self.job), b"")
        return record

    async def _read(self) -> ResultRecord | None:
        return await read_stored(self._connections.storage, ResultRecord, self.key, max_bytes=MAX_RECORDS_BYTES)

    async def result(self, *, timeout: float | None = None) -> ResultRecord:
        """Wait for the response, `timeout` seconds at most, or until the deadline and the grace after it have passed.

        Returns the record with the response. Raises `RequestFailed`, with the error record as `.record`, also if no
        worker has seen the request by its deadline: its code is `expired` then. Raises `ResultTimeout`, and
        `StoreError` only after the store was away for minutes.

            try:
                record = await handle.result(timeout=600)
            except RequestFailed as failed:
                print(failed.record.error)
            else:
                print(record.text)
        """
        pace = PollPace(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, timeout, job=self.job)
        patience, begun = Patience(), time.monotonic()
        record: ResultRecord | None = None
        while record is None:
            try:
                async with pace.look(f"no answer to {self.id}"):
                    # Asked first: an answer that comes at the last moment counts.
                    over = await self._is_over(begun)
                    record = await self._read()
                patience.went_well()
                if record is None and over:
                    record = error_record(Address(self.tenant, self.job, 0, self.custom_id), Expired())
            except StoreError as error:
                patience.bear(error)
            if record is None:
                await pace.pause(f"no answer to {self.id}")
        if not record.ok:
            raise RequestFailed(record).of_job(self.job)
        return record

    async def _is_over(self, begun: float) -> bool:
        """Whether nobody will answer any more: the deadline has passed, and then the grace for what was running."""
        if self.deadline is None:
            return False
        clock, late = self._connections.storage.clock, self.deadline + self._connections.settings.freeze_grace_seconds
        # Also after a while: with a clock that is slow it would not see the deadline pass.
        if clock.now() > late or time.monotonic() - begun > MEASURE_AFTER_SECONDS:
            clock = await self._connections.storage.measure_clock()
        return clock.trusted_now() > late

    def _latest_deadline(self) -> float | None:
        made = keys.single_made_at(self.job)
        return None if made is None else made + self._connections.settings.topic_retention_seconds


def parse_handle(id: str) -> tuple[str, str]:  # noqa: A002 - the word that users know it by
    """Job and custom_id of a handle's id."""
    job, slash, custom_id = id.partition("/")
    return job, custom_id if slash else job
