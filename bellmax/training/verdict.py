"""NumPy. What a run's numbers say at its end, in words: beside random play, beside its best, and what is plainly wrong.

Judgements stand here alone, on plain numbers; where those come from is in chance.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bellmax.types import BoolArray, FloatArray

HALF = 0.5  # of the way from random play to a better score: what is lost by more than this is lost plainly
SURE = 2.0  # standard errors
CLIPPED = 0.5  # share of targets outside the atoms


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of each seed [seeds]; NaN what is not.

    Attributes:
        final: the scores of the final policies.
        error: their standard errors, 0 where they are exact.
        at_cutoff: the share of final episodes that ran into the time limit, or the cut-off of evaluations.
        cutoff: that many steps; limited: whether it is the environment's own limit.
        optimal: whether the final policy is known to be the best there is, or not to be; NaN: not known.
        graded, best, best_step: the last and the best evaluation during training, and when that was.
        training: mean return of the last training episodes.
        random, random_error: of random play, a number; random_at_cutoff as above.
        floor: of random play on the scale of `graded` and `best`, which may be discounted; discounted: whether it is.
        averaged: whether the policies are averages of parameters.
        clipped: the share of targets outside the atoms.
    """

    final: FloatArray
    error: FloatArray
    at_cutoff: FloatArray
    cutoff: int
    limited: bool
    optimal: FloatArray
    graded: FloatArray
    best: FloatArray
    best_step: FloatArray
    training: FloatArray
    random: float = math.nan
    random_error: float = 0.0
    random_at_cutoff: float = math.nan
    floor: float = math.nan
    discounted: bool = False
    averaged: bool = False
    clipped: FloatArray = field(default_factory=lambda: np.zeros(1))


@dataclass(frozen=True)
class Verdict:
    """Scores beside each other, means over seeds (NaN: not known), and a remark for all that is plainly wrong.

    `best` is of the best evaluation in training; where that was an exact value without a time limit it is `discounted`.
    """

    random: float
    final: float
    best: float
    remarks: tuple[str, ...]
    discounted: bool = False

    def __str__(self) -> str:
        known = (
            ("random play", self.random),
            ("final policy", self.final),
            ("best in training" + " (discounted)" * self.discounted, self.best),
        )
        scores = ", ".join(f"{name} {score:.4g}" for name, score in known if not math.isnan(score))
        return "\n".join([f"scores: {scores}", *(f"look: {remark}" for remark in self.remarks)])


def judge(facts: Facts) -> Verdict:
    """The verdict on a run; a remark names how many seeds it is about, what to look at and what to do."""
    stuck, idle = _stuck(facts), _not_better(facts)
    lost = _far_above(facts.training, facts.final, facts.random) & ~_optimal(facts)
    fallen = _far_above(facts.best, facts.graded, facts.floor) & ~_optimal(facts)
    remarks = []
    if idle.any():
        remarks.append(
            f"no better than random play{_of(idle)}: train longer or explore more; `bellmax check-env` looks at the "
            "environment, and the train/ columns of the history say whether anything is learned"
        )
    if stuck.any():
        kind = "the time limit" if facts.limited else "the cut-off of an evaluation"
        remarks.append(
            f"every final episode ran into {kind}, {facts.cutoff:,} steps{_of(stuck)}: the policy goes in circles or "
            "stands still; explore longer (exploration_fraction, exploration_final_eps) or train longer"
        )
    if lost.any():
        cause = "exploring gets it out of where the greedy policy stays; give a smaller exploration_final_eps"
        if facts.averaged:
            cause = "the averaged parameters may be worse than the network itself; compare weight_averaging=False"
        remarks.append(
            f"training was good and the evaluation is not{_of(lost)}: {_mean(facts.training, lost):.4g} with "
            f"exploration, {_mean(facts.final, lost):.4g} without: {cause}, or train longer"
        )
    if fallen.any():
        remarks.append(
            f"the final policy is far below the best one{_of(fallen)}: {_mean(facts.graded, fallen):.4g}, and "
            f"{_mean(facts.best, fallen):.4g} at step {_mean(facts.best_step, fallen):,.0f}: use policy(seed, 'best') "
            "or `bellmax eval --which best`, and a smaller learning_rate or learning_rate_schedule=linear"
        )
    if (facts.clipped > CLIPPED).any():
        remarks.append(
            f"{np.nanmax(facts.clipped):.0%} of the targets were outside the atoms{_of(facts.clipped > CLIPPED)}: give "
            "v_min and v_max around all discounted returns"
        )
    return Verdict(facts.random, _mean(facts.final), _mean(facts.best), tuple(remarks), facts.discounted)


def _optimal(facts: Facts) -> BoolArray:
    return np.asarray(facts.optimal == 1.0)


def _not_better(facts: Facts) -> BoolArray:
    """Within the noise of random play, or below it; but not where all play has one same return, other than nothing."""
    noise = SURE * np.hypot(facts.error, facts.random_error) + 1e-9 * abs(facts.random)
    alike = (
        (facts.random_error == 0.0) & (facts.final == facts.random) & (facts.random != 0.0) & (facts.at_cutoff < 1.0)
    )
    return np.asarray((facts.final <= facts.random + noise) & ~alike) & ~_optimal(facts)


def _stuck(facts: Facts) -> BoolArray:
    """At the cut-off each time, and not because it survives that long: nothing is gained there.

    To last until the time limit is success where each step pays (CartPole), and inevitable where nothing ever ends.
    """
    always = facts.at_cutoff >= 1.0
    gains_nothing = ~(facts.final > 0.0)
    others_end = facts.random_at_cutoff < 1.0
    worse = _not_better(facts) | (facts.optimal == 0.0)
    return np.asarray(always & gains_nothing & (worse | others_end | (not facts.limited)) & ~_optimal(facts))


def _far_above(high: FloatArray, low: FloatArray, floor: float) -> BoolArray:
    """Whether more than half of what `high` has above random play is missing in `low`; False where it is not known."""
    gained, known = high - floor, np.isfinite(high) & np.isfinite(floor) & ~np.isnan(low)
    small = 1e-9 * (1.0 + abs(floor))
    return np.asarray(known & (gained > small) & (high - low > HALF * np.where(known, gained, np.inf)))


def _of(which: BoolArray) -> str:
    return "" if which.all() else f" ({int(which.sum()):,} of {which.size:,} seeds)"


def _mean(values: FloatArray, which: BoolArray | None = None) -> float:
    known = values[~np.isnan(values)] if which is None else values[which & ~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
