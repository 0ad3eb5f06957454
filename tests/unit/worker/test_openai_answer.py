"""An answer in OpenAI's form: its usage under either name, and what only looks like one."""

import pytest

from backburner_schemas.errors import EngineError, GenerationAborted
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import Usage
from backburner_worker.engine.openai_answer import response_of

NOT_ANSWERS = [
    {},
    {"choices": [], "data": []},
    {"choices": {}, "output": 1, "data": "x"},
    {"choices": [1], "data": [None]},
]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, Usage(3, 5)),
        ({"input_tokens": 3, "output_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": -3, "completion_tokens": "5"}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": 1e9}, Usage()),
        ({"prompt_tokens": 10**400, "completion_tokens": 10**30}, Usage(1 << 31, 1 << 31)),
        ([], Usage()),
        (None, Usage()),
    ],
)
def test_tokens_are_counted_under_either_name_and_only_within_reason(usage, expected):
    assert response_of(Endpoint.CHAT, {"choices": [{}], "usage": usage}).usage == expected


@pytest.mark.parametrize(
    ("endpoint", "answer"),
    [
        (Endpoint.CHAT, {"choices": [{"finish_reason": "abort"}]}),
        (Endpoint.RESPONSES, {"output": [], "status": "failed"}),
        (Endpoint.EMBEDDINGS, {"data": [{"embedding": []}]}),
        (Endpoint.EMBEDDINGS, {"data": [{"embedding": ""}]}),
    ],
)
def test_half_an_answer_is_none(endpoint, answer):
    with pytest.raises(GenerationAborted):
        response_of(endpoint, answer)


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("answer", NOT_ANSWERS)
def test_what_has_not_the_endpoints_form_is_no_answer(endpoint, answer):
    with pytest.raises(EngineError):
        response_of(endpoint, answer)
