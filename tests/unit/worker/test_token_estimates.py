"""TokenEstimates: what came back of a job says what its next requests take, and nothing that a body holds harms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.envelope import Envelope
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import Usage
from backburner_worker.scheduling.token_estimates import TokenEstimates


def envelope(job="batch_x", tenant="t", url=Endpoint.CHAT, **body):
    return Envelope(tenant=tenant, job=job, index=0, custom_id="c", url=url, body={"model": "m", **body})


def learn(estimates, count, answer, prompt=100, size=400, **asked):
    for _ in range(count):
        estimates.of(envelope(**asked), size).learn(Usage(prompt, answer))


def test_the_first_request_is_guessed_at_four_bytes_a_token_and_its_limit():
    estimates = TokenEstimates()
    assert estimates.of(envelope(max_tokens=32), 400).tokens == 132
    assert estimates.of(envelope(max_completion_tokens=8, max_tokens=32), 400).tokens == 108
    assert estimates.of(envelope(max_tokens=100_000), 400).tokens == 356
    assert estimates.of(envelope(), 400).tokens == 356


def test_a_response_is_guessed_as_a_chat_is():
    estimates = TokenEstimates()
    assert estimates.of(envelope(url=Endpoint.RESPONSES, input="x", max_output_tokens=32), 400).tokens == 132
    assert estimates.of(envelope(url=Endpoint.RESPONSES, input=["x", "y"]), 400).tokens == 356
    assert estimates.of(envelope(url=Endpoint.RESPONSES, input=["x", "y"]), 400).sequences == 1


def test_a_job_is_expected_to_go_on_as_it_went():
    estimates = TokenEstimates()
    learn(estimates, 500, answer=20, prompt=50, size=400)
    estimate = estimates.of(envelope(max_tokens=4096), 800)
    assert estimate.tokens == pytest.approx(120, abs=3)


def test_a_request_that_waits_follows_what_is_learned_meanwhile():
    estimates = TokenEstimates()
    waiting = estimates.of(envelope(max_tokens=4096), 400)
    before = waiting.tokens
    learn(estimates, 100, answer=10)
    assert waiting.tokens < before / 2


def test_jobs_and_endpoints_are_learned_apart():
    estimates = TokenEstimates()
    learn(estimates, 200, answer=10, job="short")
    learn(estimates, 200, answer=200, job="long")
    assert estimates.of(envelope(job="short"), 400).tokens == pytest.approx(110, abs=10)
    assert estimates.of(envelope(job="long"), 400).tokens == pytest.approx(300, abs=10)
    assert estimates.of(envelope(job="short", url=Endpoint.COMPLETIONS, prompt="p"), 400).tokens == 356


def test_a_new_job_is_expected_to_be_like_others_of_its_endpoint():
    estimates = TokenEstimates()
    learn(estimates, 200, answer=10, job="known")
    assert estimates.of(envelope(job="new"), 400).tokens == pytest.approx(110, abs=20)


def test_a_few_short_answers_do_not_make_a_job_short():
    estimates = TokenEstimates()
    learn(estimates, 2, answer=1)
    assert estimates.of(envelope(), 400).tokens > 200


def test_answers_of_one_length_hold_half_of_it_and_spread_ones_hold_more():
    alike, spread = TokenEstimates(), TokenEstimates()
    learn(alike, 128, answer=200)
    for _ in range(64):
        learn(spread, 1, answer=1)
        learn(spread, 1, answer=399)
    assert alike.of(envelope(), 0).held == pytest.approx(100, abs=20)
    assert spread.of(envelope(), 0).held == pytest.approx(200, abs=20)


def test_an_answer_that_its_limit_cuts_off_holds_half_of_the_limit():
    estimates = TokenEstimates()
    learn(estimates, 128, answer=200)
    assert estimates.of(envelope(max_tokens=20), 0).held == 10


def test_a_message_whose_body_lies_elsewhere_is_learned_apart():
    estimates = TokenEstimates()
    elsewhere = Envelope(
        tenant="t", job="batch_x", index=0, custom_id="c", url=Endpoint.CHAT, body_ref="tenants/t/jobs/batch_x/bodies/0"
    )
    for _ in range(200):
        estimates.of(elsewhere, 300).learn(Usage(100_000, 10))
    assert estimates.of(envelope(), 300).tokens < 1000
    assert estimates.of(elsewhere, 300).tokens > 50_000


def test_choices_prompts_and_inputs_are_sequences_of_their_own():
    estimates = TokenEstimates()
    assert estimates.of(envelope(n=4, max_tokens=10), 0).sequences == 4
    assert estimates.of(envelope(n=4, max_tokens=10), 0).most == 40
    several = envelope(url=Endpoint.COMPLETIONS, prompt=["a", "b", "c"], n=2)
    assert estimates.of(several, 0).sequences == 6
    assert estimates.of(envelope(url=Endpoint.COMPLETIONS, prompt=[1, 2, 3]), 0).sequences == 1
    assert estimates.of(envelope(url=Endpoint.EMBEDDINGS, input=["a", "b"]), 0).sequences == 2
    assert estimates.of(envelope(url=Endpoint.SCORE, text_1="a", text_2=["b"] * 9), 0).sequences == 9


def test_no_more_jobs_are_remembered_than_asked_for():
    estimates = TokenEstimates(remembered=10)
    for number in range(100):
        learn(estimates, 1, answer=1, job=f"batch_{number}")
    assert len(estimates) == 10


def test_a_job_that_goes_on_is_not_forgotten_for_many_that_come_once():
    estimates = TokenEstimates(remembered=10)
    learn(estimates, 200, answer=10, job="busy")
    for number in range(100):
        learn(estimates, 1, answer=1000, job=f"once-{number}")
        estimates.of(envelope(job="busy"), 400)
    assert estimates.of(envelope(job="busy"), 400).tokens == pytest.approx(110, abs=15)


def test_a_single_request_leaves_nothing_behind_but_what_its_model_is_known_by():
    estimates = TokenEstimates()
    for number in range(300):
        learn(estimates, 1, answer=10, job=f"single-{number}")
    assert len(estimates) == 1
    assert estimates.of(envelope(job="single-next"), 400).tokens == pytest.approx(110, abs=15)
    assert estimates.of(envelope(job="batch_x"), 400).tokens == pytest.approx(110, abs=15)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 100_000)), max_size=40),
    st.integers(1, 5000),
    st.integers(0, 10**7),
)
def test_never_more_than_the_request_asks_for_and_never_less_than_nothing(came, limit, size):
    estimates = TokenEstimates()
    for prompt, answer, length in came:
        estimates.of(envelope(max_tokens=limit), length).learn(Usage(prompt, answer))
    estimate = estimates.of(envelope(max_tokens=limit), size)
    prompt = estimate.prompt_of(size)
    assert prompt >= 0
    assert int(prompt) <= estimate.held <= prompt + limit
    assert int(prompt) <= estimate.tokens <= prompt + limit


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("n", "max_tokens", "max_completion_tokens", "prompt", "input", "documents", "text_2", "model", "best_of")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(Endpoint))
def test_any_body_is_weighed(body, url):
    message = Envelope(tenant="t", job="j", index=0, custom_id="c", url=url, body=body)
    estimate = TokenEstimates().of(message, 100)
    assert estimate.sequences >= 1
    assert estimate.tokens >= 0
    assert estimate.held >= 0


def test_a_limit_beyond_all_floats_is_none():
    estimates = TokenEstimates()
    learn(estimates, 20, answer=10)
    estimate = estimates.of(envelope(max_tokens=10**400), 400)
    assert estimate.held == estimates.of(envelope(), 400).held
    assert estimate.tokens == estimates.of(envelope(), 400).tokens


def test_no_model_is_remembered_by_a_name_that_is_none():
    estimates = TokenEstimates()
    learn(estimates, 1, answer=1, model="m" * 100_000)
    assert not [kind for kind in estimates._known if "m" * 300 in str(kind)]
