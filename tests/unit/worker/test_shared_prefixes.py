"""Prefixes in flight: what several prompts share counts once, and nothing is left when all have gone."""

from hypothesis import given
from hypothesis import strategies as st

from backburner_worker.scheduling.shared_prefixes import Prefixes, blocks_of, nodes_of

CHAIN = tuple(range(100, 132))


def test_a_prefix_counts_once_until_its_last_user_has_gone():
    prefixes = Prefixes()
    first, second = nodes_of(CHAIN, 7), nodes_of((*CHAIN[:16], *range(16)), 7)
    prefixes.enter(first, 10)
    assert prefixes.tokens == 320
    assert prefixes.shared(second) == 16
    prefixes.enter(second, 10)
    assert prefixes.tokens == 320 + 160
    prefixes.leave(first)
    assert prefixes.tokens == 320
    prefixes.leave(second)
    assert prefixes.tokens == 0


def test_prompts_of_another_keeper_share_nothing():
    prefixes = Prefixes()
    prefixes.enter(nodes_of(CHAIN, 7), 10)
    assert prefixes.shared(nodes_of(CHAIN, 8)) == 0


def test_a_prompt_of_one_block_is_not_worth_it():
    assert blocks_of(nodes_of(CHAIN[:1], 7)) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 32), st.floats(0.5, 90)), max_size=20), st.randoms())
def test_whatever_order_they_leave_in_nothing_is_left(prompts, chance):
    prefixes = Prefixes()
    inside = []
    for branch, length, block in prompts:
        chain = tuple(node if place < 5 else node + 1000 * branch for place, node in enumerate(CHAIN[:length]))
        held = nodes_of(chain, 1)
        prefixes.enter(held, block)
        inside.append(held)
        assert prefixes.shared(held) == blocks_of(held)
    chance.shuffle(inside)
    for held in inside:
        assert prefixes.tokens >= 0
        prefixes.leave(held)
    assert prefixes.tokens == 0
    assert not prefixes._users
    assert not prefixes._tokens
