"""Decides whether a canary fails more often than what it is to replace. Pure.

The test is Fisher's exact one, one-sided (R. A. Fisher, The Logic of Inductive Inference, Journal of the Royal
Statistical Society 98, 1935): if both failed equally often, the failures of both together would fall on the canary as
by lot. With `n` runs of the canary, `N` of both and `K` failures of both, `k` or more fall on it with the probability

    p = sum over i from k to min(K, n) of C(K, i) · C(N - K, n - i) / C(N, n)

It needs no approximation, so it holds for few failures and for few runs.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import exp, fsum, lgamma

from backburner.canary.tally import Tally


class Verdict(StrEnum):
    """What can be said of a canary."""

    FINE = "fine"
    """It does not fail more often, as far as so many runs tell."""
    WORSE = "worse"
    """It fails more often, by more than is allowed."""
    UNDECIDED = "undecided"
    """There are too few runs."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a canary worse, and how much is needed to call it fine."""

    min_runs: int = 100
    """Runs of either side, below which a canary is not called fine."""
    max_difference: float = 0.01
    """By how much the share of its failures may be higher."""
    significance: float = 0.01
    """The probability below which a difference is not put down to chance."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A canary beside what it is compared with."""

    verdict: Verdict
    difference: float | None
    """Its share of failures less the others'; None where one side has no run."""
    p_value: float
    """How likely so many failures of the canary would be, if both failed equally often."""
    refuses_more: bool
    """Whether it refuses more of the requests than chance and the same difference explain."""


def compare(canary: Tally, stable: Tally, rules: Rules) -> Comparison:
    """Compare two sides. What is worse is told however few runs there are, what is fine only from `min_runs` on."""
    p_value = chance(canary.failed, canary.runs, stable.failed, stable.runs)
    ours, theirs = canary.failure_ratio, stable.failure_ratio
    difference = None if ours is None or theirs is None else ours - theirs
    if difference is not None and difference > rules.max_difference and p_value < rules.significance:
        verdict = Verdict.WORSE
    elif min(canary.runs, stable.runs) < rules.min_runs:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.FINE
    return Comparison(verdict, difference, p_value, _refuses_more(canary, stable, rules))


def _refuses_more(canary: Tally, stable: Tally, rules: Rules) -> bool:
    ours, theirs = canary.runs + canary.refused, stable.runs + stable.refused
    if not ours or not theirs:
        return False
    difference = canary.refused / ours - stable.refused / theirs
    return (
        difference > rules.max_difference and chance(canary.refused, ours, stable.refused, theirs) < rules.significance
    )


def chance(failed: int, runs: int, other_failed: int, other_runs: int) -> float:
    """Probability that, of the failures of both sides, at least `failed` fall on the first by lot."""
    total, failures = runs + other_runs, failed + other_failed
    if not runs or not other_runs:
        return 1.0
    whole = _log_choose(total, runs)
    found = fsum(
        exp(_log_choose(failures, hit) + _log_choose(total - failures, runs - hit) - whole)
        for hit in range(max(failed, runs - (total - failures)), min(failures, runs) + 1)
    )
    return min(found, 1.0)


def _log_choose(count: int, chosen: int) -> float:
    return lgamma(count + 1) - lgamma(chosen + 1) - lgamma(count - chosen + 1)
