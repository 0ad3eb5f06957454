"""What a prompt begins with: chains agree for as long as the prompts do, and no longer."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ordering.beginnings import (
    BLOCK_BYTES,
    DEPTHS_BYTES,
    HASH_BYTES,
    MAX_BYTES,
    beginning_of,
    shared_bytes,
)


def chain_of(text):
    chain = beginning_of({"prompt": text}, 0).chain
    return [chain[at : at + HASH_BYTES] for at in range(0, len(chain), HASH_BYTES)]


def common(one, other):
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(st.integers(0, 5000), st.integers(0, 400), st.integers(0, 400))
def test_two_prompts_share_the_depths_up_to_where_they_differ(shared, one, other):
    beginning = "abcdefghij" * (shared // 10 + 1)
    first, second = beginning[:shared] + "1" * one, beginning[:shared] + "2" * other
    alike = shared if one and other else min(len(first), len(second))
    assert common(chain_of(first), chain_of(second)) == sum(depth <= alike for depth in DEPTHS_BYTES)


def test_what_is_alike_behind_a_difference_is_not_shared():
    one, other = (chain_of(letter * 64 + "c" * 640) for letter in "ab")
    assert not set(one) & set(other)


def test_depths_are_a_block_apart_and_then_a_sixteenth_of_what_is_before():
    assert DEPTHS_BYTES[0] == BLOCK_BYTES
    assert DEPTHS_BYTES[-1] == MAX_BYTES
    for shallow, deep in pairwise(DEPTHS_BYTES):
        assert deep - shallow <= max(BLOCK_BYTES, shallow / 16)
    assert len(DEPTHS_BYTES) < 256


def test_what_is_beyond_the_limit_changes_nothing():
    assert chain_of("x" * MAX_BYTES + "1") == chain_of("x" * MAX_BYTES + "2")


def test_a_short_prompt_has_no_chain_and_its_length():
    assert beginning_of({"prompt": "short"}, 999) == (b"", 5)


def test_messages_and_tools_are_in_the_chain_as_templates_put_them():
    one = {"messages": [{"role": "system", "content": "s" * 100}, {"role": "user", "content": "one"}]}
    other = {"messages": [{"role": "system", "content": "s" * 100}, {"role": "user", "content": "two"}]}
    assert beginning_of(one, 0).chain[:HASH_BYTES] == beginning_of(other, 0).chain[:HASH_BYTES]
    with_tools = {**one, "tools": [{"type": "function", "function": {"name": "look"}}]}
    assert beginning_of(with_tools, 0).chain[:HASH_BYTES] != beginning_of(one, 0).chain[:HASH_BYTES]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ["one", "two"]},
        {"input": [[1, 2, 3], [4]]},
        {"text_1": "a", "text_2": "b"},
        {"messages": [{"role": "user", "content": "x" * (MAX_BYTES + 1)}]},
    ],
)
def test_where_the_prompts_length_is_not_known_it_is_that_of_the_request(body):
    assert beginning_of(body, 500_000).prompt_bytes == 500_000


@pytest.mark.parametrize(
    "body", [{}, {"messages": 3}, {"messages": [None, {"content": [1, {"text": 2}]}]}, {"prompt": {}}]
)
def test_fields_of_any_kind_are_passed_over(body):
    assert beginning_of(body, 10).chain == b""


def test_a_text_that_is_no_utf_8_has_a_chain():
    assert len(chain_of("\ud800" * 100)) == 300 // BLOCK_BYTES


def test_what_is_found_of_a_shared_beginning_is_half_a_step_off_at_most():
    for length in range(BLOCK_BYTES, 20_000, 37):
        depth = sum(reached <= length for reached in DEPTHS_BYTES)
        assert abs(shared_bytes(depth) - length) <= BLOCK_BYTES + length / 32
    assert shared_bytes(0) == 0
