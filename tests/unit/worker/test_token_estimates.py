"""Expectations: what came back of a job says what its next requests take, and nothing that a body holds harms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.envelope import Envelope
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import Usage
from backburner_worker.scheduling.token_estimates import Expectations


def envelope(job="batch_x", tenant="t", url=Endpoint.CHAT, **body):
    return Envelope(tenant=tenant, job=job, index=0, custom_id="c", url=url, body={"model": "m", **body})


def learn(expectations, count, answer, prompt=100, size=400, **asked):
    for _ in range(count):
        expectations.of(envelope(**asked), size).came(Usage(prompt, answer))


def test_the_first_request_is_guessed_at_four_bytes_a_token_and_its_limit():
    expectations = Expectations()
    assert expectations.of(envelope(max_tokens=32), 400).tokens == 132
    assert expectations.of(envelope(max_completion_tokens=8, max_tokens=32), 400).tokens == 108
    assert expectations.of(envelope(max_tokens=100_000), 400).tokens == 356
    assert expectations.of(envelope(), 400).tokens == 356


def test_a_job_is_expected_to_go_on_as_it_went():
    expectations = Expectations()
    learn(expectations, 500, answer=20, prompt=50, size=400)
    expected = expectations.of(envelope(max_tokens=4096), 800)
    assert expected.tokens == pytest.approx(120, abs=3)


def test_a_request_that_waits_follows_what_is_learned_meanwhile():
    expectations = Expectations()
    waiting = expectations.of(envelope(max_tokens=4096), 400)
    before = waiting.tokens
    learn(expectations, 100, answer=10)
    assert waiting.tokens < before / 2


def test_jobs_and_endpoints_are_learned_apart():
    expectations = Expectations()
    learn(expectations, 200, answer=10, job="short")
    learn(expectations, 200, answer=200, job="long")
    assert expectations.of(envelope(job="short"), 400).tokens == pytest.approx(110, abs=10)
    assert expectations.of(envelope(job="long"), 400).tokens == pytest.approx(300, abs=10)
    assert expectations.of(envelope(job="short", url=Endpoint.COMPLETIONS, prompt="p"), 400).tokens == 356


def test_a_new_job_is_expected_to_be_like_others_of_its_endpoint():
    expectations = Expectations()
    learn(expectations, 200, answer=10, job="known")
    assert expectations.of(envelope(job="new"), 400).tokens == pytest.approx(110, abs=20)


def test_a_few_short_answers_do_not_make_a_job_short():
    expectations = Expectations()
    learn(expectations, 2, answer=1)
    assert expectations.of(envelope(), 400).tokens > 200


def test_answers_of_one_length_hold_half_of_it_and_spread_ones_hold_more():
    alike, spread = Expectations(), Expectations()
    learn(alike, 128, answer=200)
    for _ in range(64):
        learn(spread, 1, answer=1)
        learn(spread, 1, answer=399)
    assert alike.of(envelope(), 0).held == pytest.approx(100, abs=20)
    assert spread.of(envelope(), 0).held == pytest.approx(200, abs=20)


def test_an_answer_that_its_limit_cuts_off_holds_half_of_the_limit():
    expectations = Expectations()
    learn(expectations, 128, answer=200)
    assert expectations.of(envelope(max_tokens=20), 0).held == 10


def test_a_message_whose_body_lies_elsewhere_is_learned_apart():
    expectations = Expectations()
    elsewhere = Envelope(
        tenant="t", job="batch_x", index=0, custom_id="c", url=Endpoint.CHAT, body_ref="tenants/t/jobs/batch_x/bodies/0"
    )
    for _ in range(200):
        expectations.of(elsewhere, 300).came(Usage(100_000, 10))
    assert expectations.of(envelope(), 300).tokens < 1000
    assert expectations.of(elsewhere, 300).tokens > 50_000


def test_choices_prompts_and_inputs_are_sequences_of_their_own():
    expectations = Expectations()
    assert expectations.of(envelope(n=4, max_tokens=10), 0).sequences == 4
    assert expectations.of(envelope(n=4, max_tokens=10), 0).most == 40
    several = envelope(url=Endpoint.COMPLETIONS, prompt=["a", "b", "c"], n=2)
    assert expectations.of(several, 0).sequences == 6
    assert expectations.of(envelope(url=Endpoint.COMPLETIONS, prompt=[1, 2, 3]), 0).sequences == 1
    assert expectations.of(envelope(url=Endpoint.EMBEDDINGS, input=["a", "b"]), 0).sequences == 2
    assert expectations.of(envelope(url=Endpoint.SCORE, text_1="a", text_2=["b"] * 9), 0).sequences == 9


def test_no_more_jobs_are_remembered_than_asked_for():
    expectations = Expectations(remembered=10)
    for number in range(100):
        learn(expectations, 1, answer=1, job=f"batch_{number}")
    assert len(expectations) == 10


def test_a_job_that_goes_on_is_not_forgotten_for_many_that_come_once():
    expectations = Expectations(remembered=10)
    learn(expectations, 200, answer=10, job="busy")
    for number in range(100):
        learn(expectations, 1, answer=1000, job=f"single-{number}")
        expectations.of(envelope(job="busy"), 400)
    assert expectations.of(envelope(job="busy"), 400).tokens == pytest.approx(110, abs=15)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 100_000)), max_size=40),
    st.integers(1, 5000),
    st.integers(0, 10**7),
)
def test_never_more_than_the_request_asks_for_and_never_less_than_nothing(came, limit, size):
    expectations = Expectations()
    for prompt, answer, length in came:
        expectations.of(envelope(max_tokens=limit), length).came(Usage(prompt, answer))
    expected = expectations.of(envelope(max_tokens=limit), size)
    prompt = expected.prompt_of(size)
    assert prompt >= 0
    assert int(prompt) <= expected.held <= prompt + limit
    assert int(prompt) <= expected.tokens <= prompt + limit


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("n", "max_tokens", "max_completion_tokens", "prompt", "input", "documents", "text_2", "model", "best_of")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(Endpoint))
def test_any_body_is_weighed(body, url):
    message = Envelope(tenant="t", job="j", index=0, custom_id="c", url=url, body=body)
    expected = Expectations().of(message, 100)
    assert expected.sequences >= 1
    assert expected.tokens >= 0
    assert expected.held >= 0


def test_a_limit_beyond_all_floats_is_none():
    expectations = Expectations()
    learn(expectations, 20, answer=10)
    expected = expectations.of(envelope(max_tokens=10**400), 400)
    assert expected.held == expectations.of(envelope(), 400).held
    assert expected.tokens == expectations.of(envelope(), 400).tokens


def test_no_model_is_remembered_by_a_name_that_is_none():
    expectations = Expectations()
    learn(expectations, 1, answer=1, model="m" * 100_000)
    assert not [kind for kind in expectations._known if "m" * 300 in str(kind)]
