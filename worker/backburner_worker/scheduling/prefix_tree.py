"""A tree over the paths of held works: which of them begin as the last one did. Pure.

A node holds all works below it, for quick access to its first and its longest. Steps that all works of a node share
are kept as one, and a work alone is kept where its path parts from all others: long prompts that share nothing cost no
more than short ones.
"""

from backburner_worker.scheduling.work_set import QueuedWork, Step, WorkSet


class Group(WorkSet):
    """Works whose paths begin with `common`."""

    __slots__ = ("children", "common")

    def __init__(self, common: tuple[Step, ...]) -> None:
        super().__init__()
        self.common = common
        self.children: dict[Step, Group | QueuedWork] = {}
        """What is below, by the step after `common`; a single work is not wrapped in a group."""


class PrefixTree:
    """Works by their paths. An operation costs O(d log n) at most over many of them, d the steps of the path."""

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all = Group(())
        """All works that are held."""

    def put(self, queued: QueuedWork) -> None:
        """Hold one more, which came after all others."""
        group, path = self.all, queued.path
        if not group.works:
            group.common = path
        while True:
            common = group.common
            if path[: len(common)] != common:
                _split(group, _shared(common, path))
            group.put(queued)
            depth = len(group.common)
            if depth == len(path):
                return
            child = group.children.get(path[depth])
            if child is None:
                group.children[path[depth]] = queued
                return
            if isinstance(child, QueuedWork):
                child = group.children[path[depth]] = _group_of_one(child, _shared(child.path, path))
            group = child

    def remove(self, queued: QueuedWork) -> None:
        """Let go of one that is held."""
        group, path = self.all, queued.path
        group.remove(queued)
        while (depth := len(group.common)) < len(path):
            child = group.children[path[depth]]
            if isinstance(child, QueuedWork) or len(child) == 1:
                del group.children[path[depth]]
                return
            group = child
            group.remove(queued)

    def nearest(self, path: tuple[Step, ...]) -> Group | QueuedWork:
        """The works that begin as that path does for the most steps: a group, or the only one. Some must be held."""
        group = self.all
        while (depth := len(group.common)) < len(path) and path[:depth] == group.common:
            child = group.children.get(path[depth])
            if child is None:
                return group
            if isinstance(child, QueuedWork):
                return child
            group = child
        return group


def _split(group: Group, depth: int) -> None:
    """Have the group share so many steps only; all that it held goes one level down."""
    below = Group(group.common)
    below.works.update(group.works)
    below.children = group.children
    group.common = group.common[:depth]
    group.children = {below.common[depth]: below}


def _group_of_one(queued: QueuedWork, depth: int) -> Group:
    group = Group(queued.path[:depth])
    group.put(queued)
    if depth < len(queued.path):
        group.children[queued.path[depth]] = queued
    return group


def _shared(one: tuple[Step, ...], other: tuple[Step, ...]) -> int:
    """How many steps two paths share."""
    depth = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        depth += 1
    return depth
