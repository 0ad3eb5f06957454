"""The limit of a server elsewhere, learned: on modelled servers, whose throughput is a known function of the load."""

import heapq
import itertools
import random

import pytest

from backburner_worker.engine.openai_http.concurrency import INITIAL_REQUESTS, MAX_REQUESTS, ConcurrencyLimit

TOKENS = 100


def play(limit, seconds_of, answers, refuse_over=None):
    """Feed a modelled server as many requests as the limit allows. Returns the limits over time, and the refusals.

    `seconds_of` is how long a request takes that begins beside so many others; over `refuse_over` it is refused.
    """
    now, running, seen, refused = 0.0, [], [], 0
    numbers = itertools.count()
    for _ in range(answers):
        while len(running) < limit.value:
            limit.entered(len(running) + 1, now)
            if refuse_over is not None and len(running) >= refuse_over:
                refused += 1
                limit.refused(len(running) + 1, now, now)
                continue
            heapq.heappush(running, (now + seconds_of(len(running) + 1), next(numbers)))
        now, _ = heapq.heappop(running)
        limit.answered(TOKENS, now)
        seen.append(limit.value)
    return seen, refused


def batch_of(places, noise=0.0):
    """A server that is as fast for a full batch as for one request, and has everything beyond it wait."""
    chance = random.Random(1)
    return lambda load: max(1.0, load / places) * (1 + noise * (2 * chance.random() - 1))


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("places", [8, 64, 256])
def test_the_limit_finds_the_batch_of_a_server_and_stays_near_it(places, noise):
    seen, _ = play(ConcurrencyLimit(), batch_of(places, noise), 400 * places)
    late = seen[len(seen) // 2 :]
    average = sum(late) / len(late)
    # Enough to keep the batch full, nearly always, and not so much that half of all only waits.
    assert places <= average <= 2 * places
    assert max(late) <= 3 * places


def test_a_batch_that_slows_down_as_it_fills_is_still_filled():
    # A step takes 20 ms and 0.2 ms for each sequence, up to 256 of them.
    seen, _ = play(ConcurrencyLimit(), lambda load: (2 + 0.02 * min(load, 256)) * max(1, load / 256), 60_000)
    assert sum(seen[-20_000:]) / 20_000 > 128


def test_refusals_bring_the_limit_below_what_is_refused_and_grow_rare():
    seen, refused = play(ConcurrencyLimit(), lambda _: 1.0, 40_000, refuse_over=50)
    assert sum(seen[-10_000:]) / 10_000 < 50
    assert min(seen[-10_000:]) >= 10
    assert refused < 400


def test_the_limit_stays_below_what_was_refused_for_some_turns():
    limit = ConcurrencyLimit()
    limit.refused(30, 0.0, 1.0)
    assert limit.value == 21
    seen, _ = play(limit, lambda _: 1.0, 400)
    assert max(seen) == 28
    seen, _ = play(limit, lambda _: 1.0, 4_000)
    assert max(seen) > 30


def test_many_refusals_of_one_moment_cut_the_limit_once():
    limit = ConcurrencyLimit()
    for in_flight in range(1, 33):
        limit.entered(in_flight, 0.0)
    for in_flight in range(32, 20, -1):
        limit.refused(in_flight, 0.0, 1.0)
    assert limit.value == 22


def test_a_limit_that_holds_nothing_back_does_not_move():
    limit = ConcurrencyLimit()
    for second in range(10_000):
        limit.entered(1, second)
        limit.answered(TOKENS, second + 1)
    assert limit.value == INITIAL_REQUESTS


def test_a_fixed_limit_never_moves():
    limit = ConcurrencyLimit(7)
    play(limit, batch_of(64), 5_000)
    limit.refused(7, 0.0, 1.0)
    assert limit.value == 7


def test_the_limit_has_bounds():
    limit = ConcurrencyLimit()
    play(limit, lambda _: 1.0, 300 * MAX_REQUESTS)
    assert limit.value <= MAX_REQUESTS
    for second in range(100):
        limit.refused(limit.value, second, second)
    assert limit.value == 1
    # It is found again once nothing is refused any more.
    seen, _ = play(limit, batch_of(16), 40_000)
    assert seen[-1] > 8
