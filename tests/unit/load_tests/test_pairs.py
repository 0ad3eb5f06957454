"""Interleaved pairs and the interval of their median ratio."""

import json
import math
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from measuring.figures import Bound, Figures
from measuring.pairs import Measured, Pair, Side, bootstrap_interval, interleaved
from reporting.tables import outcome, show


def pair(baseline_s: float, ours_s: float, cpu: float = 1.0) -> Pair:
    return Pair(Measured(baseline_s, 2.0, 10), Measured(ours_s, 2.0 * cpu, 10))


def figures(pairs: list[Pair], **options) -> Figures:
    return Figures.of_pairs("some", pairs, ("bare", "queued"), **{"goal": 0.98, **options})


def test_who_goes_first_alternates():
    said = []
    sides = [Side(name, lambda number, name=name: said.append((name, number)) or Measured(1.0)) for name in "AB"]
    interleaved(3, *sides)
    assert said == [("A", 0), ("B", 0), ("B", 1), ("A", 1), ("A", 2), ("B", 2)]


def test_pairs_of_a_later_half_keep_their_numbers_and_their_order():
    said = []
    sides = [Side(name, lambda _, name=name: said.append(name) or Measured(1.0)) for name in "AB"]
    interleaved(range(3, 4), *sides, prepare=said.append)
    assert said == [3, "B", "A"]


def test_a_pair_whose_sides_did_not_do_the_same_ends_the_run():
    def refuse(_: Pair) -> None:
        raise RuntimeError("not the same work")

    side = Side("A", lambda _: Measured(1.0))
    with pytest.raises(RuntimeError, match="not the same work"):
        interleaved(2, side, Side("B", side.run), check=refuse)


def test_the_ratio_is_of_rates_and_of_cpu_for_the_same_work():
    found = Pair(Measured(10.0, 4.0, work=100), Measured(10.0, 3.0, work=50))
    assert found.speed == pytest.approx(0.5)
    assert found.cpu == pytest.approx(1.5)


def test_the_interval_is_the_same_each_time_and_holds_the_median():
    values = [0.97, 1.02, 0.99, 1.0, 1.01, 0.98, 0.95]
    low, median, high = bootstrap_interval(values)
    assert (low, median, high) == bootstrap_interval(values)
    assert median == 0.99
    assert 0.95 <= low < median < high <= 1.02


def test_the_interval_is_that_of_a_known_sample():
    # The median of n values lies between their k-th smallest and k-th largest with a binomial's probability: for 25
    # values k = 8 gives 95.7 %, and the bootstrap of a median walks over the same values.
    low, median, high = bootstrap_interval([float(number) for number in range(1, 26)])
    assert median == 13.0
    assert low in {8.0, 9.0}
    assert high in {17.0, 18.0}


@pytest.mark.parametrize(
    ("count", "shown"), [(1, ""), (2, "0.900 to 1.100, range of 2 pairs"), (5, "0.900 to 1.100, range of 5 pairs")]
)
def test_of_fewer_than_six_pairs_the_range_is_shown_under_that_name(count, shown):
    rounds = [pair(9.0, 10.0), pair(11.0, 10.0), *[pair(10.0, 10.0)] * 3]
    assert figures(rounds[:count]).interval == shown


def test_of_six_pairs_there_is_an_interval():
    found = figures([pair(10.0 + number / 10, 10.0) for number in range(6)])
    assert found.interval.endswith(", 95 %")
    assert not found.has_range


def test_quartiles_of_rates_alone_are_no_interval_of_pairs():
    found = Figures(scenario="some", goal=5000.0, reached=True, requests_per_s=6000.0, low=5500.0, high=6500.0)
    assert found.interval == "5,500 to 6,500"


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9))
def test_the_interval_stays_among_the_values(values):
    low, median, high = bootstrap_interval(values)
    assert min(values) <= low <= median <= high <= max(values)
    assert median == statistics.median(values)


def test_more_pairs_narrow_the_interval():
    widths = []
    for times in (1, 8, 64):
        low, _, high = bootstrap_interval([0.9, 0.95, 1.0, 1.05, 1.1] * times)
        widths.append(high - low)
    assert all(more > less for more, less in pairwise(widths))


def test_no_pairs_have_no_interval():
    with pytest.raises(ValueError, match="at least one pair"):
        bootstrap_interval([])


def test_the_median_decides_in_the_direction_of_the_goal():
    slow = [pair(9.0, 10.0)] * 3
    assert not figures(slow).reached
    assert figures(slow, goal=0.8).reached
    assert figures(slow, goal=0.95, bound=Bound.AT_MOST).reached
    assert not figures(slow, goal=0.5, bound=Bound.AT_MOST).reached


def test_figures_can_be_of_another_ratio_than_speed():
    found = figures([pair(1.0, 1.0, cpu=0.25)], ratio_of=lambda found: found.cpu, of="CPU", bound=Bound.AT_MOST)
    assert found.ratio == pytest.approx(0.25)
    assert found.reached


def test_what_is_written_can_be_read_where_cpu_was_not_measured(tmp_path):
    found = Figures.of_pairs("some", [Pair(Measured(1.0), Measured(2.0, 0.5))], ("bare", "queued"), goal=0.4)
    found.write(tmp_path / "new" / "some.json")
    read = json.loads((tmp_path / "new" / "some.json").read_text())
    assert read["rows"][0]["cpu_seconds"] is None
    assert read["pairs"] == [
        {
            "ratio": 0.5,
            "baseline": {"seconds": 1.0, "cpu_seconds": None, "work": 1.0, "extra": {}},
            "ours": {"seconds": 2.0, "cpu_seconds": 0.5, "work": 1.0, "extra": {}},
        }
    ]
    assert read["machine"]["cores"] >= 1
    assert read["versions"]["aiokafka"].startswith("aiokafka ")
    assert "commit" in read["versions"]


def test_a_table_shows_both_sides_and_the_last_line_the_outcome():
    found = figures([pair(9.0, 10.0), pair(10.0, 10.0)])
    console = Console(record=True, width=120)
    show(found, console)
    lines = console.export_text().splitlines()
    assert any("bare" in line for line in lines)
    assert any("queued" in line for line in lines)
    assert (
        lines[-1]
        == outcome(found)
        == "some: goal ≥ 0.98 NOT reached; ratio 0.950 (0.900 to 1.000, range of 2 pairs); 1.0 requests/s"
    )


def test_a_skipped_scenario_tells_why():
    skipped = Figures.skip("some", "ray does not install here", goal=1.3)
    assert outcome(skipped) == "some: skipped, ray does not install here"
    assert not skipped.reached


def test_figures_of_a_rate_alone_need_no_pairs():
    found = Figures(scenario="some", goal=5000.0, reached=True, requests_per_s=6000.0, details={"rounds": [1]})
    assert found.value == 6000.0
    assert outcome(found) == "some: goal ≥ 5000 reached; 6,000.0 requests/s"


def test_work_without_cpu_has_no_cpu_in_its_row():
    found = Figures.of_pairs("some", [Pair(Measured(1.0), Measured(1.0, 3.0))], ("bare", "queued"), goal=1.0)
    assert [row.cpu_seconds for row in found.rows] == [None, 3.0]
    assert math.isnan(Measured(1.0).cpu_seconds)
