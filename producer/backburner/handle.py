"""The handle of one request: knows the key of its answer, and polls it. Any process can make one from its id."""

from collections.abc import Sequence

from backburner.connections import Connections
from backburner.jobs.polling import Patience, PollPace
from backburner.storage.parse import read_stored
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner_schemas import errors, keys
from backburner_schemas.result import ResultRecord

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
        self, connections: Connections, tenant: str, job: str, custom_id: str, warnings: Sequence[str] = ()
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
        return await read_stored(self._connections.storage, ResultRecord, self.key, max_bytes=MAX_RECORDS_BYTES)

    async def result(self, *, timeout: float | None = None) -> ResultRecord:
        """Wait for the response, `timeout` seconds at most, or for as long as it takes.

        Returns the record with the response. Raises `RequestFailed`, with the error record as `.record`, and
        `ResultTimeout`; `StoreError` only after the store was away for minutes.

            try:
                record = await handle.result(timeout=600)
            except RequestFailed as failed:
                print(failed.record.error)
            else:
                print(record.text)
        """
        pace, patience = PollPace(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, timeout), Patience()
        record: ResultRecord | None = None
        while record is None:
            try:
                record = await self.peek()
                patience.went_well()
            except errors.StoreError as error:
                patience.bear(error)
            if record is None:
                await pace.pause(f"no answer to {self.id}")
        if not record.ok:
            raise RequestFailed(record)
        return record


def parse_handle(id: str) -> tuple[str, str]:  # noqa: A002 - the word that users know it by
    """Job and custom_id of a handle's id."""
    job, slash, custom_id = id.partition("/")
    return job, custom_id if slash else job
