"""Segments that a test puts into a job, as a worker would that nobody else knows of."""

from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import BackburnerError
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record, error_record
from backburner_schemas.segment import Line, encode_segment


def answered(index: int, text: str = "again") -> ResultRecord:
    """A record with a response."""
    body = {"choices": [{"message": {"content": text}}]}
    response = ResponseBody(status_code=200, request_id="x", body=body)
    return ResultRecord(id="x", custom_id=f"r{index}", response=response, backburner=ResultFacts(index=index))


def failed(index: int, error: BackburnerError) -> ResultRecord:
    """A record with an error."""
    return error_record(Address("default", "mine", index, f"r{index}"), error)


async def store(
    system: FakeSystem, records: list[ResultRecord], *, job: str = "mine", writer: str | None = None, sequence: int = 0
) -> str:
    """Put the records into the job as one segment. Returns its name."""
    part = [
        Line(record.backburner.index, encode_record(record), record.error.code if record.error else None)
        for record in records
    ]
    bad = sum(record.error is not None for record in records)
    name = keys.SegmentName(writer or keys.new_ulid(), sequence, len(records) - bad, bad, 0, 0, 0)
    await system.storage.put(keys.segment("default", job, name), encode_segment(part))
    return str(name)
