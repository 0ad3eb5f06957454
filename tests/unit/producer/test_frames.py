"""DataFrames: requests of rows and a prompt, answers beside the rows, whatever the library."""

import asyncio

import numpy as np
import pandas as pd
import polars as pl
import pytest
from waiting import until

from backburner import InvalidInput
from backburner.frames import answer_rows, to_frame, to_requests
from backburner.testing import FakeSystem
from backburner_schemas.errors import UnsupportedParameter
from backburner_schemas.result import ResultRecord

NEW = ["text", "error", "error_message", "finish_reason", "model", "input_tokens", "output_tokens"]


def shout(envelope):
    return envelope.body["messages"][-1]["content"].upper()


@pytest.fixture
async def system():
    async with FakeSystem(shout) as system:
        yield system


def silent(_):
    pass


def content(request):
    return request["body"]["messages"][-1]["content"]


async def test_rows_of_pandas_get_their_answers_and_keep_their_index(system):
    reviews = pd.DataFrame({"id": [7, 8], "review": ["good", "bad"]}, index=[10, 20])
    found = await answer_rows(system.client, reviews, "say {review}", custom_id="id", progress=silent, max_tokens=4)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == ["id", "review", *NEW]
    assert list(found.index) == [10, 20]
    assert list(found["text"]) == ["SAY GOOD", "SAY BAD"]
    assert list(found["output_tokens"]) == [2, 2]
    assert found["error"].isna().all()
    assert list(reviews.columns) == ["id", "review"]


async def test_rows_of_polars_stay_polars(system):
    found = await answer_rows(system.client, pl.DataFrame({"word": ["a", "b"]}), "{word}", progress=silent)
    assert found["text"].to_list() == ["A", "B"]
    assert found["error"].to_list() == [None, None]
    assert found.columns == ["word", *NEW]


async def test_dicts_become_a_frame_of_pandas(system):
    found = await answer_rows(system.client, ({"word": word} for word in "ab"), "{word}", progress=silent)
    assert list(found["word"] + found["text"]) == ["aA", "bB"]


def test_a_blocking_client_takes_the_same_call():
    with FakeSystem(shout) as system:
        found = answer_rows(system.sync_client, [{"word": "a"}], "{word}", progress=silent)
        assert list(found["text"]) == ["A"]


async def test_the_same_call_with_a_job_id_sends_nothing_twice(system):
    rows = [{"word": "a"}, {"word": "b"}]
    for _ in range(2):
        found = await answer_rows(system.client, rows, "{word}", job_id="mine", progress=silent)
    assert list(found["text"]) == ["A", "B"]
    assert system.published == 2


async def test_what_failed_has_its_code(system):
    system.fail(["row-1"])
    found = await answer_rows(system.client, [{"word": "a"}, {"word": "b"}], "{word}", progress=silent)
    assert list(found["error"].fillna("")) == ["", "engine_error"]
    assert "told to fail" in found["error_message"][1]


async def test_what_was_cut_off_has_its_code(system):
    system.hold()
    words = [{"word": "a"}, {"word": "b"}]
    asked = asyncio.create_task(answer_rows(system.client, words, "{word}", job_id="mine", progress=silent))
    await until(lambda: system.waiting == 2)
    await system.client.job("mine").cancel()
    assert list((await asked)["error"]) == ["cancelled", "cancelled"]


async def test_rows_without_a_record_yet_are_empty(system):
    rows = pl.DataFrame({"word": ["a", "b"]})
    system.hold()
    job = await system.client.submit(to_requests(rows, "{word}", model="fake"))
    await system.release(1)
    found = to_frame([record async for record in job.results(follow=False)], rows)
    assert found["text"].to_list() == ["A", None]


async def test_records_alone_are_a_frame(system):
    job = await system.client.submit(to_requests([{"word": "a"}], "{word}", model="fake"))
    records = [record async for record in job.results()]
    assert to_frame(records)[["custom_id", "text"]].to_dict("records") == [{"custom_id": "row-0", "text": "A"}]
    assert to_frame(records, library="polars").columns == ["custom_id", *NEW]
    assert list(to_frame([]).columns) == ["custom_id", *NEW]


async def test_embeddings_are_a_column():
    body = {"object": "list", "data": [{"embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 3}}
    async with FakeSystem(lambda _: body) as system:
        found = await answer_rows(
            system.client, pl.DataFrame({"word": ["a"]}), "{word}", endpoint="/v1/embeddings", progress=silent
        )
    assert found["embedding"].to_list() == [[0.5, 1.0]]
    assert found["input_tokens"].to_list() == [3]


def answered(custom_id, body):
    response = {"status_code": 200, "request_id": "x", "body": body}
    found = {"id": "batch_req_1", "custom_id": custom_id, "response": response, "backburner": {"index": 0}}
    return ResultRecord.model_validate(found)


@pytest.mark.parametrize(
    ("embeddings", "kept"),
    [
        (([1.0, 2.0], "AAAA"), [[1.0, 2.0], None]),
        (("AAAA", [1.0]), ["AAAA", None]),
        (([1.0], [[1.0], [2.0]]), [[1.0], None]),
        (([[1.0], 2.0], [1.0]), [[None, 2.0], [1.0]]),
    ],
)
def test_embeddings_of_another_shape_than_the_first_are_left_out(embeddings, kept):
    records = [answered(str(number), {"data": [{"embedding": one}]}) for number, one in enumerate(embeddings)]
    assert to_frame(records, library="polars")["embedding"].to_list() == kept


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_an_embedding_is_floats_however_the_engine_writes_them(library):
    vectors = [[0, 0.5], [1.5, 2], [1, 0]]
    records = [answered(str(number), {"data": [{"embedding": one}]}) for number, one in enumerate(vectors)]
    found = to_frame(records, library=library)
    assert [list(one) for one in found["embedding"]] == vectors
    assert {type(value) for one in found["embedding"] for value in one} == {float}
    rows = pl.DataFrame({"id": ["0", "1", "2"]})
    assert to_frame(records, rows, custom_id="id")["embedding"].to_list() == vectors


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_what_is_not_of_its_columns_type_is_left_out(library):
    bodies = [
        {"model": 7, "choices": [{"finish_reason": {"x": 1}}], "usage": {"prompt_tokens": 2**70}},
        {"model": "m", "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 3}},
        {"model": "m", "choices": [], "usage": {"prompt_tokens": 1.5}},
    ]
    found = to_frame([answered(str(number), body) for number, body in enumerate(bodies)], library=library)
    assert [None if pd.isna(one) else one for one in found["input_tokens"]] == [None, 3, None]
    assert list(found["model"])[1:] == ["m", "m"]
    assert list(found["finish_reason"])[1] == "stop"


def test_dicts_keep_the_columns_that_only_some_of_them_have():
    found = to_frame([], [{"id": "a"}, {"id": "b", "note": "kept"}])
    assert list(found.columns) == ["id", "note", *NEW]
    assert list(found["note"])[1] == "kept"
    with pytest.raises(InvalidInput, match="row 0 has no value"):
        to_requests([{"id": "a"}, {"id": "b", "note": "kept"}], "{note}")


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64])
def test_no_number_is_a_missing_value_whatever_its_type(kind):
    with pytest.raises(InvalidInput, match="row 1 has no value"):
        to_requests([{"x": kind(1.5)}, {"x": kind("nan")}], "{x}")


async def test_a_column_of_the_rows_is_never_replaced(system):
    rows = pd.DataFrame({"text": ["a"]})
    with pytest.raises(InvalidInput, match="prefix="):
        await answer_rows(system.client, rows, "{text}", progress=silent)
    assert system.published == 0
    found = await answer_rows(system.client, rows, "{text}", prefix="answer_", progress=silent)
    assert found[["text", "answer_text"]].to_dict("records") == [{"text": "a", "answer_text": "A"}]


def test_a_template_formats_values_and_nothing_else():
    rows = [{"a": 1.5, "long name": "x", "b.c": 2}]
    (request,) = to_requests(rows, "{a:.2f} {long name!r} {{{b.c}}}", model="fake", temperature=0)
    assert content(request) == "1.50 'x' {2}"
    assert request["body"]["temperature"] == 0
    assert request["url"] == "/v1/chat/completions"


def test_a_function_makes_texts_or_messages_and_a_system_message_goes_before():
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    (text,) = to_requests([{"w": "a"}], lambda row: row["w"] * 2, system="be {w}", model="fake")
    assert text["body"]["messages"] == [{"role": "system", "content": "be a"}, {"role": "user", "content": "aa"}]
    (made,) = to_requests([{"w": "a"}], lambda _: messages, system="hello", model="fake")
    assert made["body"]["messages"] == [{"role": "system", "content": "hello"}, *messages]


@pytest.mark.parametrize(
    ("rows", "prompt", "said"),
    [
        ([{"a": 1}], "{b}", "'b', and the rows have a"),
        ([{"a": 1}], "{}", "names no column"),
        ([{"a": 1}], '{"json": 1}', "write braces that are text twice"),
        ([{"a": 1}], "{a.__class__}", "'a.__class__'"),
        ([{"a": "x"}], "{a:d}", "a: Unknown format code"),
        ([{"a": 1}, {"a": None}, {"a": float("nan")}], "{a}", "row 1 and 1 more rows have no value .* 'a'"),
        (pd.DataFrame({"a": [1, pd.NA]}), "{a}", "row 1 has no value"),
        (pd.DataFrame({"a": [pd.NaT]}), "{a}", "row 0 has no value"),
        (pl.LazyFrame({"a": [1]}), "{a}", "a lazy one collected"),
        (["a"], "{a}", "row 0 is a str"),
        ("a", "{a}", "a str has no rows"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(rows, prompt, said):
    with pytest.raises(InvalidInput, match=said):
        to_requests(rows, prompt, model="fake")


@pytest.mark.parametrize(("ids", "said"), [([1, 1], "rows 0 and 1 have the same"), ([1, None], "row 1 has no value")])
def test_custom_ids_are_a_key(ids, said):
    with pytest.raises(InvalidInput, match=said):
        to_requests([{"a": one} for one in ids], "{a}", custom_id="a")
    with pytest.raises(InvalidInput, match="custom_id names the column 'x'"):
        to_requests([{"a": 1}], "{a}", custom_id="x")


def test_requests_can_be_read_again():
    requests = to_requests(({"a": number} for number in range(3)), "{a}", model="fake")
    assert len(requests) == 3
    assert list(requests) == list(requests)


async def test_a_data_frame_itself_is_not_submitted_by_its_columns_names(system):
    rows = pd.DataFrame({"prompt": ["a"]})
    for source in (rows, pl.DataFrame({"prompt": ["a"]})):
        with pytest.raises(InvalidInput, match="to_requests"):
            await system.client.submit(source)
        with pytest.raises(InvalidInput, match="to_requests"):
            await system.client.submit(source, stored=True)


def test_nor_by_a_blocking_client():
    with FakeSystem() as system, pytest.raises(InvalidInput, match="to_requests"):
        system.sync_client.submit(pd.DataFrame({"prompt": ["a"]}))


async def test_the_client_finds_its_model(system):
    assert await system.client.default_model() == "fake"


async def test_a_misspelt_argument_is_no_field_of_a_body(system):
    with pytest.raises(UnsupportedParameter, match="did you mean prefix"):
        await answer_rows(system.client, [{"a": 1}], "{a}", prefx="x")
    with pytest.raises(UnsupportedParameter, match="did you mean max_tokens"):
        to_requests([{"a": 1}], "{a}", max_token=1)
    (request,) = to_requests([{"a": 1}], "{a}", extra_body={"mine": 1})
    assert request["body"]["mine"] == 1
