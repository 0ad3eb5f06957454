"""What counts as a hang, and how long one generation may take: numbers in, a decision out."""

import pytest

from backburner_schemas.request import Endpoint
from backburner_worker.engine.stall import RunningTime, StallWatch
from backburner_worker.generation.time_limit import MIN_LIMIT_SECONDS, TimeLimit

CHAT = Endpoint.CHAT


def test_no_progress_with_requests_inside_is_a_hang_from_the_limit_on() -> None:
    watch = StallWatch(300)
    assert [watch.look(7, 3, seconds) for seconds in (0, 100, 299, 300, 301)] == [False, False, False, True, True]


def test_any_progress_begins_its_time_anew() -> None:
    watch = StallWatch(300)
    assert not any(watch.look(progress, 1, progress * 299.0) for progress in range(10))


def test_an_engine_without_requests_has_nothing_to_do_and_its_time_begins_with_the_next() -> None:
    watch = StallWatch(300)
    assert not any(watch.look(7, 0, seconds) for seconds in (0, 1000, 2000))
    assert not watch.look(7, 1, 2299)
    assert watch.look(7, 1, 2300)


@pytest.mark.parametrize(("limit", "progress"), [(0, 7), (300, None)])
def test_without_a_limit_or_where_progress_cannot_be_told_nothing_is_a_hang(limit: float, progress: int | None) -> None:
    watch = StallWatch(limit)
    assert not any(watch.look(progress, 1, seconds) for seconds in (0, 1e3, 1e6))


def test_a_process_that_was_stopped_itself_takes_that_for_no_hang() -> None:
    clock, watch = RunningTime(1), StallWatch(300)
    # Looks on time, then SIGSTOP for a day, then on time again.
    found = [watch.look(7, 1, clock.look(now)) for now in (*range(200), *range(86_400, 86_450))]
    assert not any(found)
    assert clock.seconds == 199 + 2 + 49
    assert watch.look(7, 1, clock.look(86_600)) is False, "one late look is not 150 s"


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    clock = RunningTime(1)
    assert [clock.look(now) for now in (10, 11, 5, 6)] == [0, 1, 1, 2]


def test_a_generation_may_take_ten_minutes_and_more_where_it_asks_for_more() -> None:
    limit = TimeLimit()
    assert limit.seconds(CHAT, {"max_tokens": 10}) == MIN_LIMIT_SECONDS == 600
    assert limit.seconds(CHAT, {"max_completion_tokens": 8192}) == 4096
    assert limit.seconds(CHAT, {"max_tokens": 2048, "n": 4}) == 4096
    assert limit.seconds(Endpoint.EMBEDDINGS, {"input": "a"}) == 600
    assert limit.seconds(CHAT, {"max_tokens": 10**400}) == 600, "a number without meaning bounds nothing"


def test_the_slowest_speed_that_was_seen_counts() -> None:
    limit = TimeLimit()
    limit.learn(1000, 1.0)
    assert limit.seconds(CHAT, {"max_tokens": 8192}) == 4096, "fast ones show nothing of slow ones"
    limit.learn(100, 100.0)
    limit.learn(1000, 10.0)
    assert limit.seconds(CHAT, {"max_tokens": 8192}) == 8192
    limit.learn(100, 86_400.0)
    assert limit.seconds(CHAT, {"max_tokens": 8192}) == 8192, "this process was stopped for a day"
    limit.learn(1, 500.0)
    assert limit.seconds(CHAT, {"max_tokens": 8192}) == 8192, "a single token shows its prompt's time"
