"""What an addition and a take cost does not grow with what is held: counted in lines run and in comparisons."""

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from works import new_feeder, work

from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.work import Work

FEW, MANY = 64, 1024
ROUNDS = 75


class CountedInt(int):
    """An integer that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        CountedInt.compared += 1
        return super().__lt__(other)

    def __neg__(self) -> "CountedInt":
        return CountedInt(-int(self))

    __hash__ = int.__hash__


def steps(feeder: Feeder, make: Callable[[int], Work], held: int) -> float:
    """Lines and comparisons of an addition, a take, a putting back and a take, while about so many are held."""
    for number in range(held):
        feeder.add(make(number))
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    CountedInt.compared = 0
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for number in range(held, held + ROUNDS):
            feeder.add(make(number))
            one = feeder.take()
            assert one is not None
            feeder.put_back(one)
            feeder.peek()
            feeder.take()
    finally:
        sys.settrace(before)
    return (lines + CountedInt.compared) / ROUNDS


chance = random.Random(1)
KINDS: dict[str, Callable[[int], Work]] = {
    "plain": lambda number: work(number, tokens=CountedInt(100)),
    "lengths": lambda number: work(number, tokens=CountedInt(chance.randrange(1, 5000))),
    "deadlines": lambda number: work(number, tokens=CountedInt(9), deadline=60.0 * chance.randrange(10**6)),
    "tenants": lambda number: work(number, tokens=CountedInt(5000), tenant=f"t{number % 1000}"),
    "prefixes": lambda number: work(number, tokens=CountedInt(9), prefix=(1, chance.randrange(50), 3, number)),
    "all": lambda number: work(
        number,
        tokens=CountedInt(chance.randrange(1, 9000)),
        tenant=f"t{chance.randrange(20)}",
        deadline=60.0 * chance.randrange(1000),
        model=f"m{number % 3}",
        prefix=(chance.randrange(9), chance.randrange(9)),
    ),
}


@pytest.mark.parametrize("window", [1, 10**6], ids=["first come", "longest first"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cost_of_a_work_grows_no_faster_than_the_logarithm_of_what_is_held(kind: str, window: int) -> None:
    few, many = (steps(new_feeder(window, 1 << 30), KINDS[kind], held) for held in (FEW, MANY))
    # 16 times as many, so the logarithm is 10 / 6 of what it was. A heap is built once, which the rounds share.
    assert many <= few * 10 / 6 + 2 * MANY / ROUNDS
