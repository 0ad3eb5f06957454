"""Whether an answer object holds a response to a request, by its first bytes: whatever stands there, little is read."""

import pytest

from backburner.jobs.answered import has_answer_object
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import EngineError
from backburner_schemas.request import MAX_CUSTOM_ID_CHARACTERS, Endpoint
from backburner_schemas.result import ResultFacts, encode_record, encode_response, error_record, record_id

BODY = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}


def request(index: int = 0, custom_id: str = "a") -> Envelope:
    return Envelope(
        tenant="acme",
        job="single-x",
        index=index,
        custom_id=custom_id,
        url=Endpoint.CHAT,
        body=BODY,
        answer=AnswerMode.OBJECT,
    )


def response(envelope: Envelope, size: int = 1) -> bytes:
    facts = ResultFacts(index=envelope.index).model_dump()
    body = {"content": "\N{SNOWMAN}" * size}
    return encode_response(record_id(envelope.address), envelope.custom_id, 200, body, facts)


async def has(envelope: Envelope, stored: bytes) -> bool:
    storage = Storage.open(Settings(store_url="memory:///"))
    await storage.put(keys.answer(envelope.tenant, envelope.job, envelope.custom_id), stored)
    return await has_answer_object(storage, envelope)


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("custom_id", ["a", "\N{SNOWMAN}" * MAX_CUSTOM_ID_CHARACTERS, '"' * MAX_CUSTOM_ID_CHARACTERS])
async def test_a_response_of_any_length_is_one(custom_id: str, size: int) -> None:
    one = request(custom_id=custom_id)
    assert await has(one, response(one, size))


async def test_nothing_an_error_and_anothers_response_are_none() -> None:
    one = request()
    assert not await has_answer_object(Storage.open(Settings(store_url="memory:///")), one)
    assert not await has(one, encode_record(error_record(one.address, EngineError("it failed"))))
    assert not await has(one, response(request(index=1)))


@pytest.mark.parametrize("junk", [b"", b"no JSON", b"[1]", b'{"id":1}', b"\xff\xfe", b'{"junk":"' + b"x" * (1 << 20)])
async def test_what_is_no_record_is_none(junk: bytes) -> None:
    assert not await has(request(), junk)
