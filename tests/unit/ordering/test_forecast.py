"""What is expected of a job: it is what a cache finds that is asked in that order."""

import random

import pytest

from backburner.ordering.beginnings import beginning_of
from backburner.ordering.forecast import ANSWER_TOKENS, PrefixCache, answer_tokens
from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import InputDigest

NOWHERE = InputDigest(0, bytes(32), bytes(32))
PASSAGE_BYTES = 2400


def prompts_of(passages, questions, *, system=0, seed=1):
    chance = random.Random(seed)
    common = "s" * system
    texts = ["".join(chance.choices("abcdefgh ", k=PASSAGE_BYTES)) for _ in range(passages)]
    found = [f"{common}{text}{number}" for text in texts for number in range(questions)]
    chance.shuffle(found)
    return found


def forecast_of(prompts, cache_tokens, order=None):
    index = OrderIndex(file_order_cache=cache_tokens)
    for prompt in prompts:
        body = {"model": "m", "prompt": prompt, "max_tokens": 4}
        index.add(0, 99, "/v1/completions", body, pool="fake", verbatim=True)
    plan = index.plan(NOWHERE)
    index.close()
    with plan:
        return plan.forecast, [entry.index for entry in plan.entries()]


def found_by_a_cache(prompts, cache_tokens):
    """Share of the bytes that a cache of whole blocks of 64 bytes finds, least recently used out."""
    held, asked, found = {}, 0, 0
    for prompt in prompts:
        blocks = [prompt[:end] for end in range(64, len(prompt) + 1, 64)]
        hit = 0
        while hit < len(blocks) and blocks[hit] in held:
            hit += 1
        for block in reversed(blocks):
            held.pop(block, None)
            held[block] = None
        while len(held) * 16 > cache_tokens:
            held.pop(next(iter(held)))
        asked += len(prompt)
        found += 64 * hit
    return found / asked


@pytest.mark.parametrize(("passages", "questions", "system"), [(60, 20, 0), (200, 3, 0), (60, 10, 800), (500, 1, 1600)])
def test_it_expects_what_a_cache_finds_in_either_order(passages, questions, system):
    prompts = prompts_of(passages, questions, system=system)
    tokens = 8 * (PASSAGE_BYTES + system) // 4
    forecast, order = forecast_of(prompts, tokens)
    planned = found_by_a_cache([prompts[index] for index in order], tokens)
    in_file = found_by_a_cache(prompts, tokens)
    assert forecast.found_ratio == pytest.approx(planned, abs=0.05)
    assert forecast.file_order_found_ratio == pytest.approx(in_file, abs=0.05)


def test_all_but_the_first_of_each_beginning_are_hits():
    forecast, _ = forecast_of(prompts_of(50, 20), 10_000)
    assert forecast.hit_ratio == 0.95
    assert forecast.file_order_hit_ratio == pytest.approx(10_000 / (50 * PASSAGE_BYTES / 4), abs=0.05)
    assert forecast.completion_tokens == 4000
    assert forecast.prompt_tokens == pytest.approx(1000 * PASSAGE_BYTES / 4, rel=0.01)


def test_the_first_of_a_group_is_no_hit_for_a_system_prompt_that_all_share():
    forecast, _ = forecast_of(prompts_of(50, 10, system=800), 10_000)
    assert forecast.hit_ratio == 0.9


def test_where_requests_share_a_little_more_with_some_than_with_others_all_are_hits():
    prompts = ["s" * 1000 + f"question {number:03}" + "x" * 100 for number in range(100)]
    forecast, _ = forecast_of(prompts, 10_000)
    assert forecast.hit_ratio == 0.99


def test_requests_that_share_nothing_are_no_hits():
    forecast, _ = forecast_of(prompts_of(100, 1), 1_000_000)
    assert (forecast.hits, forecast.found_tokens, forecast.file_order) == (0, 0, (0, 0))


def test_without_a_cache_the_files_order_is_not_reckoned():
    index = OrderIndex()
    with index.plan(NOWHERE) as plan:
        assert plan.forecast.file_order_hit_ratio is None
        assert plan.forecast.file_order_found_ratio is None
        assert plan.forecast.hit_ratio == 0
    index.close()


def test_a_cache_holds_nothing_of_another_model_and_no_more_than_its_room():
    chain, size = beginning_of({"prompt": "a" * 1000}, 0)
    cache = PrefixCache(10_000)
    assert cache.ask(1, chain, size, 1) == 0
    assert cache.ask(1, chain, size, 1) == len(chain) // 4
    assert cache.ask(2, chain, size, 1) == 0
    other, _ = beginning_of({"prompt": "b" * 1000}, 0)
    assert cache.ask(1, other, size, 10_000) == 0
    assert cache.ask(1, chain, size, 1) == 0


def test_a_cache_remembers_nothing_of_requests_that_leave_nothing_of_their_own():
    # As embeddings of one text, which have no answer.
    chain, size = beginning_of({"prompt": "a" * 640}, 0)
    cache = PrefixCache(10_000)
    for _ in range(100):
        cache.ask(1, chain, size, 0)
    assert len(cache._held) == len(chain) // 4


def test_a_cache_lets_go_of_the_end_of_a_prompt_first_and_of_what_was_used_last_at_the_end():
    one, other, third = (beginning_of({"prompt": letter * 640}, 0) for letter in "abc")
    cache = PrefixCache(30 * 16)
    assert (cache.ask(1, *one, 1), cache.ask(1, *other, 1)) == (0, 0)
    assert cache.ask(1, *one, 1) == 10
    # With some bytes of answers, what is left of the one that was not used meanwhile are its first blocks.
    assert cache.ask(1, *third, 1) == 0
    assert cache.ask(1, *one, 1) == 10
    assert 0 < cache.ask(1, *other, 1) < 10


@pytest.mark.parametrize(
    ("url", "fields", "tokens"),
    [
        ("/v1/chat/completions", {}, ANSWER_TOKENS),
        ("/v1/chat/completions", {"max_tokens": 5}, 5),
        ("/v1/chat/completions", {"max_tokens": 5000, "max_completion_tokens": 7, "n": 3}, 21),
        ("/v1/chat/completions", {"max_tokens": True, "n": "x"}, ANSWER_TOKENS),
        ("/v1/completions", {"max_tokens": 10**30, "n": 10**30}, (1 << 24) * 4096),
        ("/v1/embeddings", {"max_tokens": 5}, 0),
        ("/v1/score", {}, 0),
    ],
)
def test_answers_are_as_long_as_their_limit_or_a_guess(url, fields, tokens):
    assert answer_tokens(url, fields) == tokens
