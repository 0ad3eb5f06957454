"""How much may still be sent, from what was found and what was sent since."""

from backburner.dispatcher.sharing.backlog import Backlog, JobProgress, Survey
from backburner_schemas.names import Lane

QUEUE = ("fake", Lane.NORMAL)


def progress(total, sent, recorded, *, pools=None, created_at=1.0, job="j"):
    pools = [("fake", total)] if pools is None else pools
    return JobProgress(("t", job), Lane.NORMAL, pools, created_at, total=total, sent=sent, recorded=recorded)


def test_room_is_the_bound_less_what_is_unanswered_on_the_queue_and_what_was_sent_since():
    backlog = Backlog(2_000)
    backlog.begin_survey()
    backlog.surveyed(Survey([progress(10_000, 1_500, 700), progress(100, 100, 0, job="k")]))
    assert backlog.unanswered(QUEUE) == 900
    assert backlog.room(QUEUE, 10_000) == 512
    backlog.sent(QUEUE, 512)
    assert backlog.room(QUEUE, 10_000) == 512
    backlog.sent(QUEUE, 512)
    assert (backlog.room(QUEUE, 10_000), backlog.full) == (0, True)
    # The end of a job needs no whole turn.
    assert backlog.room(QUEUE, 50) == 50


def test_what_is_sent_while_the_store_is_looked_at_still_counts_after_it():
    backlog = Backlog(2_000)
    backlog.sent(QUEUE, 300)
    backlog.begin_survey()
    backlog.sent(QUEUE, 500)
    backlog.surveyed(Survey([progress(10_000, 300, 0)]))
    assert (backlog.unanswered(QUEUE), backlog.full) == (800, False)


def test_a_bound_below_a_turn_lets_as_much_through():
    backlog = Backlog(10)
    assert backlog.room(QUEUE, 10_000) == 10
    backlog.sent(QUEUE, 1)
    assert backlog.room(QUEUE, 10_000) == 0


def lane(pool):
    return (pool, Lane.NORMAL)


THREE = [("a", 50), ("b", 30), ("c", 20)]
ALL_LIVE = {"a": 1, "b": 1, "c": 1}


def test_a_job_for_several_pools_counts_in_those_that_it_was_sent_to_and_in_the_last_ones_first():
    survey = Survey([progress(100, 60, 5, pools=THREE)], ALL_LIVE)
    assert survey.on_the_queue() == {lane("a"): 45, lane("b"): 10, lane("c"): 0}
    assert survey.pending() == {lane("a"): 45, lane("b"): 30, lane("c"): 20}
    assert survey.queued_since() == {lane("a"): 1.0, lane("b"): 1.0}


def test_what_a_pool_without_workers_does_not_answer_does_not_fill_the_lane_of_another():
    backlog = Backlog(1_000)
    sent = [progress(10_000, 1_900, 900, pools=[("dead", 1_000), ("live", 9_000)])]
    backlog.surveyed(Survey(sent, {"live": 1}, backlog.bound))
    assert (backlog.unanswered(lane("dead")), backlog.unanswered(lane("live"))) == (1_000, 0)
    assert backlog.room(lane("live"), 10_000) == 512


def test_a_pool_whose_workers_left_after_their_answers_lets_no_more_than_a_bound_beyond_the_bound():
    sent = [progress(100_000, 52_000, 50_000, pools=[("left", 50_000), ("live", 50_000)])]
    survey = Survey(sent, {"live": 1}, 500)
    assert survey.on_the_queue() == {lane("left"): 500, lane("live"): 1_500}


def test_ages_are_those_of_the_oldest_job_that_is_not_sent_and_that_is_not_answered():
    sent = progress(10, 10, 4, created_at=5.0)
    unsent = progress(10, 0, 0, created_at=7.0, job="k")
    unknown = progress(0, 0, 0, pools=[], created_at=6.0, job="l")
    done = progress(10, 10, 10, created_at=1.0, job="m")
    survey = Survey([sent, unsent, unknown, done])
    assert survey.unsent_since() == 6.0
    assert survey.queued_since() == {QUEUE: 5.0}
    assert Survey([done]).unsent_since() is None


def test_more_dispatchers_could_help_with_lanes_that_have_room_and_a_worker_alone():
    jobs = [
        progress(1_000, 400, 0, pools=[("has-room", 1_000)]),
        progress(5_000, 500, 0, job="k", pools=[("full", 5_000)]),
        progress(70, 0, 0, job="l", pools=[("nobody", 70)]),
    ]
    assert Survey(jobs, {"has-room": 2, "full": 1}, 500).pending_with_room() == 1_000
