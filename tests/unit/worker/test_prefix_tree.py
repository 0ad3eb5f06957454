"""The tree over the paths of held works: the nearest are those that share the most steps."""

from hypothesis import given
from hypothesis import strategies as st
from works import work

from backburner_worker.scheduling.prefix_tree import PrefixTree
from backburner_worker.scheduling.work_set import QueuedWork

PATHS = st.lists(st.integers(0, 2), max_size=5).map(lambda blocks: ("fake", *blocks)[-5:])


def held(number: int, path: tuple[str | int | None, ...]) -> QueuedWork:
    return QueuedWork(number, work(number), "default", path, 0.0, 1, 0)


def shared(one: tuple[object, ...], other: tuple[object, ...]) -> int:
    depth = 0
    while depth < min(len(one), len(other)) and one[depth] == other[depth]:
        depth += 1
    return depth


@given(st.lists(st.tuples(PATHS, st.booleans(), PATHS), max_size=40))
def test_the_nearest_share_the_most_whatever_came_and_went(steps):
    tree, there = PrefixTree(), []
    for number, (path, removes, looked_for) in enumerate(steps):
        if removes and there:
            tree.remove(there.pop(number * 7 % len(there)))
        else:
            there.append(held(number, path))
            tree.put(there[-1])
        assert [*tree.all.works.values()] == there
        if there:
            near = tree.nearest(looked_for)
            most = max(shared(one.path, looked_for) for one in there)
            expected = [one for one in there if shared(one.path, looked_for) == most]
            assert ([near] if isinstance(near, QueuedWork) else [*near.works.values()]) == expected
            if not isinstance(near, QueuedWork):
                assert near.first() is expected[0]
    for one in there:
        tree.remove(one)
    assert not tree.all.works
    assert not tree.all.children


def test_a_tree_that_ran_empty_starts_anew():
    tree = PrefixTree()
    first = held(0, ("a", 1))
    tree.put(first)
    tree.remove(first)
    tree.put(held(1, ("b", 1)))
    tree.put(held(2, ("b", 2)))
    near = tree.nearest(("a", 1))
    assert not isinstance(near, QueuedWork)
    assert [*near.works] == [1, 2]
