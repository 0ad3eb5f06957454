from hypothesis import given
from hypothesis import strategies as st

from backburner.local.programs.backoff import Backoff


def test_waits_grow_and_have_an_end():
    backoff = Backoff()
    waits = [backoff.after_death(came_up=True, lived=5) for _ in range(20)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 30.0


def test_lives_in_a_row_that_never_came_up_are_enough():
    backoff = Backoff(limit=3)
    assert backoff.after_death(came_up=False, lived=1) is not None
    assert backoff.after_death(came_up=False, lived=1) is not None
    assert backoff.after_death(came_up=False, lived=1) is None


def test_coming_up_once_forgives_what_was_before():
    backoff = Backoff(limit=2)
    assert backoff.after_death(came_up=False, lived=1) is not None
    assert backoff.after_death(came_up=True, lived=1) is not None
    assert backoff.after_death(came_up=False, lived=1) is not None
    assert backoff.after_death(came_up=False, lived=1) is None


def test_a_long_life_starts_from_the_shortest_wait():
    backoff = Backoff()
    for _ in range(6):
        backoff.after_death(came_up=True, lived=1)
    assert backoff.after_death(came_up=True, lived=3600) == 0.5


@given(lives=st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=200))
def test_no_wait_is_ever_longer_than_half_a_minute(lives):
    backoff = Backoff(limit=1000)
    for came_up, lived in lives:
        wait = backoff.after_death(came_up=came_up, lived=lived)
        assert wait is not None
        assert 0 < wait <= 30
