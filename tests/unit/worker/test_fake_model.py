"""The modelled engine: how long a step takes, who runs, who waits, and what the KV cache holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_worker.engine.fake.model import FakeModel, Pace, Sequence

PACE = Pace(prefill=1000, step=0.1, sequence=0.01, sequences=4, kv=1000, batched=100)


def run(model):
    """Its seconds and what ended, step by step, until nothing is left."""
    steps = []
    while seconds := model.begin():
        steps.append((seconds, model.end()))
    return steps


def test_a_prompt_is_computed_in_chunks_and_then_a_token_comes_at_each_step():
    model = FakeModel(PACE)
    sequence = Sequence(prompt=250, answer=3)
    model.add(sequence)
    steps = run(model)
    assert [seconds for seconds, _ in steps] == pytest.approx([0.2, 0.2, 0.16, 0.11, 0.11])
    assert [ended for _, ended in steps] == [[], [], [], [], [sequence]]


def test_a_step_takes_longer_the_more_sequences_it_has():
    model = FakeModel(PACE)
    for _ in range(4):
        model.add(Sequence(prompt=1, answer=10))
    assert run(model)[1][0] == pytest.approx(0.14)


def test_no_more_run_than_there_are_places():
    model = FakeModel(PACE)
    for _ in range(6):
        model.add(Sequence(prompt=1, answer=2))
    model.begin()
    load = model.meter.load()
    assert (load.running, load.waiting) == (4, 2)


def test_an_idle_engine_runs_and_holds_nothing():
    model = FakeModel(PACE)
    model.add(Sequence(prompt=250, answer=3))
    run(model)
    load = model.meter.load()
    assert (load.running, load.waiting, load.kv_used) == (0, 0, 0.0)
    assert load.steps == 5


def test_a_prompt_waits_until_the_cache_has_room_for_it():
    model = FakeModel(PACE)
    for _ in range(3):
        model.add(Sequence(prompt=400, answer=9))
    for _ in range(9):
        model.begin()
        model.end()
    load = model.meter.load()
    assert (load.running, load.waiting) == (2, 1)
    assert load.kv_used >= 0.8


def test_where_the_cache_is_full_the_last_one_is_thrown_out_and_computed_again():
    model = FakeModel(PACE)
    for _ in range(2):
        model.add(Sequence(prompt=450, answer=200))
    ended = [sequence for _, done in run(model) for sequence in done]
    assert [sequence.generated for sequence in ended] == [200, 200]
    assert model.meter.load().preempted >= 1


def test_one_that_is_larger_than_the_cache_runs_alone():
    model = FakeModel(PACE)
    model.add(Sequence(prompt=1500, answer=5))
    model.add(Sequence(prompt=10, answer=5))
    assert sum(len(done) for _, done in run(model)) == 2


@pytest.mark.parametrize(("cache", "steps"), [(1, 1), (0, 3)])
def test_a_prefix_that_is_in_the_cache_is_not_computed_again(cache, steps):
    model = FakeModel(Pace(prefill=1000, step=0.1, sequences=4, kv=1000, batched=100, cache=cache))
    for _ in range(2):
        model.add(Sequence(prompt=250, answer=1, prefix=(1, 2), block=100))
        taken = len(run(model))
    assert taken == steps


def test_a_cached_prefix_goes_when_its_room_is_needed():
    model = FakeModel(PACE)
    model.add(Sequence(prompt=250, answer=1, prefix=(1, 2), block=100))
    run(model)
    model.add(Sequence(prompt=950, answer=1))
    run(model)
    model.add(Sequence(prompt=250, answer=1, prefix=(1, 2), block=100))
    assert len(run(model)) == 3


def test_one_that_is_dropped_frees_its_place_and_its_room():
    model = FakeModel(PACE)
    kept, dropped = Sequence(prompt=10, answer=3), Sequence(prompt=900, answer=3)
    model.add(dropped)
    model.add(kept)
    model.begin()
    model.drop(dropped)
    assert model.end() == []
    assert [done for _, done in run(model) if done] == [[kept]]
    assert model._cache.used == 0


def test_a_pace_is_read_from_text_and_nonsense_is_refused():
    assert Pace.parse("prefill=5e3, sequences=8,kv=4096,speed=2.5") == Pace(
        prefill=5000, sequences=8, kv=4096, speed=2.5
    )
    for text in ("fast", "prefill", "prefill=0", "sequences=1.5", "sequences=4096", "prefill=nan", "speed=inf"):
        with pytest.raises(ValueError, match=r"\w"):
            Pace.parse(text)


SEQUENCES = st.builds(
    lambda prompt, answer, blocks, branch: Sequence(
        prompt, answer, tuple(branch * 100 + block for block in range(min(blocks, (prompt - 1) // 20))), 20
    ),
    st.integers(1, 600),
    st.integers(1, 200),
    st.integers(0, 6),
    st.integers(0, 2),
)


@given(st.lists(SEQUENCES, max_size=12), st.sets(st.integers(0, 11)), st.integers(1, 30))
def test_every_answer_becomes_whole_and_nothing_is_left_behind(sequences, dropped, when):
    model = FakeModel(PACE)
    for sequence in sequences:
        model.add(sequence)
    unwanted = [sequence for number, sequence in enumerate(sequences) if number in dropped]
    ended = []
    steps = 0
    while model.begin():
        steps += 1
        if steps == when:
            for sequence in unwanted:
                model.drop(sequence)
        ended += model.end()
        assert len(model._running) <= PACE.sequences
        assert model._cache.used <= PACE.kv or len(model._running) == 1
    assert {id(one) for one in sequences if one not in unwanted} <= {id(one) for one in ended}
    assert all(one.generated == one.answer for one in ended)
    assert model._cache.used == 0
    assert not model._cache._in_use
    assert model._cache._idle_tokens == sum(model._cache._idle.values()) <= PACE.kv


def test_what_the_prefix_cache_was_asked_for_and_had_is_counted_block_by_block():
    model = FakeModel(PACE)
    for prefix in ((1, 2), (1, 3), (4, 5)):
        model.add(Sequence(prompt=100, answer=1, prefix=prefix, block=40))
        run(model)
    assert (model.lookups.asked, model.lookups.found) == (6, 1)


def test_a_prompt_without_room_is_looked_up_when_it_gets_it():
    model = FakeModel(PACE)
    for number in range(3):
        model.add(Sequence(prompt=600, answer=2, prefix=(number,), block=500))
    run(model)
    assert (model.lookups.asked, model.lookups.found) == (3, 0)
