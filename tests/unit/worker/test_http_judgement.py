"""What an answer means, in the forms of vLLM, text-generation-inference, Triton's front end, OpenAI and proxies."""

import json
from email.utils import formatdate

import pytest

from backburner_schemas.errors import ContextLengthExceeded, EngineBusy, EngineError, RequestRefused
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record
from backburner_worker.engine.openai_http.client import HttpAnswer
from backburner_worker.engine.openai_http.judgement import Busy, Denied, judge, parse, retry_after

HTML = b"<html><body><h1>404 Not Found</h1></body></html>"


def answer(status, body, **fields):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, data, "application/json", **fields)


REFUSALS = [
    # vLLM
    (400, {"error": {"message": "temperature must be >= 0", "type": "BadRequestError", "param": "temperature"}}),
    # vLLM before it took OpenAI's form
    (400, {"object": "error", "message": "temperature must be >= 0", "param": "temperature", "code": 400}),
    # OpenAI
    (400, {"error": {"message": "bad", "type": "invalid_request_error", "param": "temperature", "code": None}}),
    # text-generation-inference
    (422, {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}),
    # FastAPI's own, and so Triton's front end
    (422, {"detail": [{"type": "float", "loc": ["body", "temperature"], "msg": "Input should be a number"}]}),
    (400, {"detail": "temperature must be a number"}),
    (501, {"error": {"message": "tools are not supported", "code": 501}}),
]


@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_the_requests_own_fault_is_refused_for_good_in_each_form(status, body):
    with pytest.raises(RequestRefused) as caught:
        judge(answer(status, body))
    assert not caught.value.retryable
    assert type(caught.value) is RequestRefused
    assert caught.value.message
    assert caught.value.param in ("temperature", None)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "This model's maximum context length is 512 tokens. However, you", "code": 400}}),
        (400, {"error": {"message": "too long", "param": "input_tokens"}}),
        (400, {"error": {"message": "Please reduce the prompt", "code": "context_length_exceeded"}}),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
                "`inputs` tokens and 20 `max_new_tokens`",
                "error_type": "validation",
            },
        ),
        (400, {"detail": "Prompt length (900) exceeds maximum input length (512)"}),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_as_such(status, body):
    with pytest.raises(ContextLengthExceeded):
        judge(answer(status, body))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"error": {"message": "internal", "type": "InternalServerError"}}, EngineError),
        (424, {"error": "Request failed during generation: CUDA", "error_type": "generation"}, EngineError),
        (500, {"error": "Incomplete generation", "error_type": "incomplete_generation"}, EngineError),
        (500, {"detail": "No attached inference engine"}, EngineError),
        (502, b"<html>Bad Gateway</html>", EngineError),
        (503, b"no healthy upstream", EngineBusy),
        (504, b"", EngineError),
        # The name was known when the server was admitted, so it is not the request that is wrong.
        (404, {"error": {"message": "The model `m` does not exist.", "param": "model", "code": 404}}, EngineError),
        (404, HTML, EngineError),
        # A proxy's, which knows nothing of requests.
        (400, b"<html>400 Bad Request</html>", EngineError),
        (408, {"error": "timeout"}, EngineError),
        (599, b"", EngineError),
        (200, b"{", EngineError),
        (200, b"", EngineError),
        (200, b'{"choices": [NaN]}', EngineError),
        (200, b"[" * 100_000, EngineError),
        (200, b"[]", EngineError),
        (200, b'"text"', EngineError),
        (200, {"error": {"message": "died half way"}}, EngineError),
    ],
)
def test_the_servers_fault_is_worth_a_retry(status, body, kind):
    with pytest.raises(kind) as caught:
        judge(answer(status, body))
    assert caught.value.retryable


@pytest.mark.parametrize("body", [b"<html>Too Large</html>", {"detail": "too large"}])
def test_a_body_that_a_proxy_finds_too_large_is_the_requests_own_fault(body):
    with pytest.raises(RequestRefused):
        judge(answer(413, body))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}),
        (429, b"slow down"),
        (503, {"error": {"message": "The engine is currently overloaded, please try again later"}}),
        (503, b"<html>maintenance</html>"),
    ],
)
def test_a_lack_of_capacity_is_no_failure_and_says_for_how_long(status, body):
    with pytest.raises(Busy) as caught:
        judge(answer(status, body, retry_after="7"))
    assert caught.value.pause == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("86400", 60.0),
        ("9" * 5000, 60.0),
        (formatdate(1_000_020, usegmt=True), 20.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_a_retry_after_is_a_bounded_number_of_seconds_or_a_date(text, seconds):
    assert retry_after(text, 1_000_000.0) == seconds


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_caller_is_told_which_file_holds_the_token(status):
    with pytest.raises(Denied, match="BACKBURNER_ENGINE_TOKEN_FILE"):
        judge(answer(status, {"error": "Unauthorized"}))


def test_a_token_is_hidden_however_its_letters_are_written():
    said = rb'{"error": {"message": "wrong key sk-aB3\u002BcD4\/eF5", "param": "sk-aB3+cD4/eF5"}}'
    with pytest.raises(RequestRefused) as caught:
        judge(answer(400, said, token="sk-aB3+cD4/eF5"))
    assert (caught.value.message, caught.value.param) == ("wrong key [token]", "[token]")


def test_a_redirect_is_not_followed_and_names_the_setting():
    with pytest.raises(Denied, match="BACKBURNER_ENGINE_URLS"):
        judge(answer(307, b"", location="https://evil.example/"))


def test_a_servers_words_are_cut():
    with pytest.raises(RequestRefused) as caught:
        judge(answer(400, {"error": {"message": "x" * 60_000, "param": "p" * 60_000}}))
    assert len(caught.value.message) < 1100
    assert len(caught.value.param) <= 128


@pytest.mark.parametrize(
    "body",
    [
        {"error": None},
        {"error": {"message": None}},
        {"detail": [[]]},
        {"detail": []},
        {"detail": [{"loc": 5, "msg": 7}]},
        {"message": 3},
        [[]],
        None,
    ],
)
def test_an_error_of_no_known_form_is_told_all_the_same(body):
    with pytest.raises((RequestRefused, EngineError)) as caught:
        judge(answer(400, body))
    assert caught.value.message


def test_an_answer_is_given_as_it_is():
    assert judge(answer(200, {"choices": [], "made_up": 1})) == {"choices": [], "made_up": 1}


@pytest.mark.parametrize("levels", [180, *range(188, 202), 100_000])
def test_an_answer_is_nested_no_deeper_than_readers_of_its_record_go(levels):
    body = b'{"choices":[{"x":' + b"[" * levels + b"]" * levels + b"}]}"
    try:
        found = judge(answer(200, body))
    except EngineError:
        assert levels > 180
        return
    response = ResponseBody(status_code=200, request_id="r", body=found)
    record = ResultRecord(id="r", custom_id="a", response=response, backburner=ResultFacts(index=0))
    assert ResultRecord.model_validate_json(encode_record(record)) == record


@pytest.mark.parametrize("body", [b"", b"1,2", b"{}],[{}", b"]" * 8 + b",[" + b"[" * 7, b"1e999x", b"[1", b"{}]"])
def test_what_is_no_json_by_itself_is_none(body):
    with pytest.raises(ValueError, match=r"."):
        parse(body)
