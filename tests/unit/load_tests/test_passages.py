"""The requests of the load tests about prefixes: what a round's requests share, and that rounds share nothing."""

from collections import Counter

import pytest

from measuring.passages import (
    JOB_PASSAGE_COUNT,
    JOB_REQUESTS,
    PASSAGE_COUNT,
    QUESTIONS_PER_PASSAGE,
    ROUND_REQUESTS,
    Order,
    job_line,
    line,
    order_of,
)


def texts(turn):
    lines = [line(number, "m") for number in range(turn * ROUND_REQUESTS, (turn + 1) * ROUND_REQUESTS)]
    return [tuple(message["content"] for message in one["body"]["messages"]) for one in lines]


@pytest.mark.parametrize("turn", range(4))
def test_a_round_asks_each_question_about_each_passage(turn):
    asked = texts(turn)
    assert len(set(asked)) == ROUND_REQUESTS
    assert set(Counter(passage for passage, _ in asked).values()) == {QUESTIONS_PER_PASSAGE}


def test_an_interleaved_round_goes_through_all_passages_again_and_again():
    assert order_of(0) is Order.INTERLEAVED
    passages = [passage for passage, _ in texts(0)]
    assert len(set(passages[:PASSAGE_COUNT])) == PASSAGE_COUNT
    assert passages == passages[:PASSAGE_COUNT] * QUESTIONS_PER_PASSAGE


def test_each_order_has_rounds_in_which_either_side_goes_first():
    assert [order_of(turn) for turn in range(4)] == [Order.INTERLEAVED] * 2 + [Order.SHUFFLED] * 2


def test_no_two_rounds_have_a_passage_in_common():
    first, second = ({passage for passage, _ in texts(turn)} for turn in (0, 1))
    assert not {passage[:40] for passage in first} & {passage[:40] for passage in second}


def test_a_large_job_asks_as_many_different_questions_about_each_of_its_passages_and_shares_none_with_the_next():
    jobs = []
    for first in (0, JOB_REQUESTS):
        lines = [job_line(number, "m")["body"]["messages"] for number in range(first, first + JOB_REQUESTS)]
        asked = Counter(message[0]["content"] for message in lines)
        assert set(asked.values()) == {JOB_REQUESTS // JOB_PASSAGE_COUNT}
        assert len({str(message) for message in lines}) == JOB_REQUESTS
        jobs.append({passage[:40] for passage in asked})
    assert len(jobs[0] | jobs[1]) == 2 * JOB_PASSAGE_COUNT
