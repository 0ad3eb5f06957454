"""The feeder against a model of the same rule that looks through everything each time."""

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from works import WEIGHTS, new_feeder, work

from backburner_schemas.names import Lane
from backburner_worker.scheduling import fair_queue, tenant_queue
from backburner_worker.scheduling.work import Work

WINDOW, WINDOW_BYTES = 12, 200
FEW = WINDOW // 4


def path(one: Work) -> tuple[Any, ...]:
    body = one.run.envelope.body
    return (body["model"] if body else None, *one.prefix)


def shared(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    depth = 0
    while depth < min(len(one), len(other)) and one[depth] == other[depth]:
        depth += 1
    return depth


def slot(one: Work) -> float:
    deadline = one.run.deadline
    return deadline if deadline == math.inf else deadline // tenant_queue.BUCKET_SECONDS


class Tenant:
    def __init__(self, allowance: int) -> None:
        self.works: list[Work] = []
        self.allowance = allowance
        self.last: tuple[Any, ...] = ()
        self.left = self.begun = 0
        self.ending = True

    def note_end(self) -> None:
        if len(self.works) <= FEW:
            self.ending = True
        if len(self.works) > 2 * FEW:
            self.ending = False

    def choose(self) -> tuple[Work, bool]:
        def first(works: list[Work]) -> Work:
            return max(works, key=lambda one: max(one.tokens, 1)) if self.ending else works[0]

        if self.left > 0:
            most = max(shared(path(one), self.last) for one in self.works)
            near = [one for one in self.works if shared(path(one), self.last) == most]
            if len(near) < len(self.works):
                return first(near), True
        if self.begun % tenant_queue.RUNS_PER_FIRST_COME == tenant_queue.RUNS_PER_FIRST_COME - 1:
            return self.works[0], False
        earliest = min(map(slot, self.works))
        return first([one for one in self.works if slot(one) == earliest]), False

    def pop(self) -> Work:
        one, goes_on = self.choose()
        self.left = self.left - 1 if goes_on else tenant_queue.MAX_RUN_WORKS - 1
        self.begun += not goes_on
        self.last = path(one)
        self.works.remove(one)
        self.note_end()
        return one


class LaneModel:
    """Tenants with work or a debt; those that wait stand in `ring` with the round of their turn."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.tenants: dict[str, Tenant] = {}
        self.turn: str | None = None
        self.ring: list[tuple[int, str]] = []
        self.round = 0

    def add(self, one: Work) -> None:
        name = one.run.envelope.tenant
        if name not in self.tenants:
            if self.turn is None:
                self.turn = name
                self.tenants[name] = Tenant(fair_queue.QUANTUM_TOKENS)
            else:
                self.tenants[name] = Tenant(0)
                self.ring.append((self.round + 1, name))
        self.tenants[name].works.append(one)
        self.tenants[name].note_end()

    def pop(self) -> Work:
        assert self.turn is not None
        tenant = self.tenants[self.turn]
        one = tenant.pop()
        tenant.allowance -= max(one.tokens, 1)
        if tenant.allowance <= 0 or not tenant.works:
            self.pass_on()
        return one

    def pass_on(self) -> None:
        assert self.turn is not None
        name, tenant = self.turn, self.tenants[self.turn]
        if tenant.works and not self.ring:
            tenant.allowance = fair_queue.QUANTUM_TOKENS
            return
        if tenant.works or tenant.allowance < 0:
            due = self.round + 1
            while tenant.allowance <= -fair_queue.QUANTUM_TOKENS:
                tenant.allowance += fair_queue.QUANTUM_TOKENS
                due += 1
            self.ring.append((due, name))
        else:
            del self.tenants[name]
        self.turn = None
        while self.ring and self.turn is None:
            self.round, name = found = min(self.ring, key=lambda waiting: waiting[0])
            self.ring.remove(found)
            if self.tenants[name].works:
                self.turn = name
                self.tenants[name].allowance += fair_queue.QUANTUM_TOKENS
            else:
                del self.tenants[name]

    def drop(self, unwanted: set[Work]) -> None:
        for tenant in self.tenants.values():
            for one in [one for one in tenant.works if one in unwanted]:
                tenant.works.remove(one)
                tenant.note_end()
        if self.turn is not None and not self.tenants[self.turn].works:
            self.pass_on()


class Model:
    def __init__(self) -> None:
        self.suspects: list[Work] = []
        self.lanes = {lane: LaneModel() for lane in Lane}
        self.clock = 0.0

    def works(self) -> list[Work]:
        lanes = [one for lane in self.lanes.values() for tenant in lane.tenants.values() for one in tenant.works]
        return [*self.suspects, *lanes]

    def add(self, one: Work) -> None:
        if one.suspect:
            self.suspects.append(one)
            return
        lane = self.lanes[one.lane]
        if lane.turn is None:
            lane.passed = max(lane.passed, self.clock)
        lane.add(one)

    def lane(self) -> Lane | None:
        waiting = [lane for lane in Lane if self.lanes[lane].turn is not None]
        return min(waiting, key=lambda lane: self.lanes[lane].passed) if waiting else None

    def peek(self) -> Work | None:
        if self.suspects:
            return self.suspects[0]
        if (name := self.lane()) is None:
            return None
        lane = self.lanes[name]
        assert lane.turn is not None
        return lane.tenants[lane.turn].choose()[0]

    def take(self) -> Work | None:
        if self.suspects:
            return self.suspects.pop(0)
        if (name := self.lane()) is None:
            return None
        lane = self.lanes[name]
        one = lane.pop()
        self.clock = lane.passed
        # 1 over a weight of 1, 2, 4 or 8 is exact.
        lane.passed += 1 / WEIGHTS[name]
        return one

    def drop(self, unwanted: set[Work]) -> None:
        self.suspects = [one for one in self.suspects if one not in unwanted]
        for lane in self.lanes.values():
            lane.drop(unwanted)


WORKS = st.builds(
    work,
    st.integers(),
    st.sampled_from([Lane.NORMAL, Lane.NORMAL, Lane.NORMAL, Lane.LOW]),
    suspect=st.sampled_from([False] * 9 + [True]),
    tenant=st.sampled_from("abc"),
    deadline=st.sampled_from([math.inf, math.inf, 30.0, 59.0, 60.0, 240.0]),
    model=st.sampled_from(["fake", "fake", "adapter", None]),
    prefix=st.lists(st.integers(0, 1), max_size=4).map(tuple),
    tokens=st.integers(0, 5) | st.integers(1, 40),
    size=st.integers(0, 40),
)


class FeederMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.feeder, self.model = new_feeder(WINDOW, WINDOW_BYTES), Model()

    @rule(works=st.lists(WORKS, min_size=1, max_size=8))
    def add(self, works: list[Work]) -> None:
        for one in works:
            self.feeder.add(one)
            self.model.add(one)

    @rule(count=st.integers(1, 6))
    def take(self, count: int) -> None:
        for _ in range(count):
            assert self.feeder.take() is self.model.take()

    @precondition(lambda self: len(self.feeder))
    @rule(times=st.integers(1, 3))
    def take_and_put_back(self, times: int) -> None:
        for _ in range(times):
            one = self.feeder.take()
            assert one is self.model.peek()
            self.feeder.put_back(one)

    @rule(chosen=st.randoms(use_true_random=False), share=st.sampled_from([0.1, 0.5, 1.0]))
    def drop(self, chosen: Any, share: float) -> None:
        unwanted = {one for one in self.model.works() if chosen.random() < share}
        assert {*self.feeder.drop(lambda one: one in unwanted)} == unwanted
        self.model.drop(unwanted)

    @rule()
    def peek(self) -> None:
        assert self.feeder.peek() is self.model.peek()

    @invariant()
    def counts_and_bytes_are_exact(self) -> None:
        works = self.model.works()
        assert len(self.feeder) == len(works)
        assert self.feeder.suspects == len(self.model.suspects)
        counts = {lane: sum(one.lane is lane for one in works) for lane in Lane}
        sizes = {lane: sum(len(one.delivery.raw) for one in works if one.lane is lane) for lane in Lane}
        assert self.feeder.budget() == {
            lane: WINDOW - counts[lane] for lane in Lane if counts[lane] < WINDOW and sizes[lane] < WINDOW_BYTES
        }
        assert self.feeder.reopened({}) == any(
            counts[lane] <= WINDOW // 2 and sizes[lane] <= WINDOW_BYTES // 2 for lane in Lane
        )

    def teardown(self) -> None:
        while (one := self.model.take()) is not None:
            assert self.feeder.take() is one
        assert self.feeder.take() is None


@pytest.fixture(autouse=True)
def _short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a few works reach."""
    monkeypatch.setattr(tenant_queue, "MAX_RUN_WORKS", 3)
    monkeypatch.setattr(tenant_queue, "RUNS_PER_FIRST_COME", 3)
    monkeypatch.setattr(fair_queue, "QUANTUM_TOKENS", 10)


TestFeeder = FeederMachine.TestCase
TestFeeder.settings = settings(max_examples=min(60, settings.default.max_examples), stateful_step_count=30)
