"""NumPy. What a run's numbers say at its end, in words: beside random play, beside its best, and what is plainly wrong.

Judgments stand here alone, on plain numbers; where those come from is in random_play.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import BoolArray, FloatArray

HALF = 0.5  # of the way from random play to a better score: what is lost by more than this is lost plainly
SURE = 3.0  # standard errors of both sides, which a difference must exceed
ALIKE = 1.0  # standard errors within which a score counts as that of random play
LARGE_RATE = 0.1  # learning rates above are the first suspect
CLIPPED = 0.5  # share of targets outside the atoms


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of each seed [seeds]; NaN what is not.

    Attributes:
        final: the scores of the final policies.
        error: their standard errors, 0 where they are exact; episodes: how many each was played, 0 where exact.
        at_cutoff: the share of final episodes that ran into the time limit, or the cut-off of evaluations.
        cutoff: that many steps; limited: whether it is the environment's own limit.
        optimal: whether the final policy is known to be the best there is, or not to be; NaN: not known.
        ends: whether episodes are known to end by themselves somewhere.
        graded, best, best_step: the last and the best evaluation during training, and when that was.
        graded_error: standard error of one such evaluation, 0 where exact; evaluations: how many there were, each of
            eval_episodes, 0 where exact.
        training, training_error: mean return of the last training episodes; NaN where `final` is discounted.
        random, random_error: of random play, a number; random_at_cutoff as above; unmeasured: why it is NaN.
        floor: of random play on the scale of `graded` and `best`, which may be discounted; discounted: whether it is.
        averaged: whether the policies are averages of parameters.
        clipped: the share of targets outside the atoms.
        offline: whether it learned from data, and could not explore; learning_rate: at its begin.
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
    graded_error: FloatArray = field(default_factory=lambda: np.zeros(1))
    training_error: FloatArray = field(default_factory=lambda: np.zeros(1))
    episodes: int = 0
    evaluations: int = 1
    eval_episodes: int = 0
    ends: bool = False
    unmeasured: str = ""
    offline: bool = False
    learning_rate: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """Scores beside each other, means over seeds (NaN: not known), and a remark for all that is plainly wrong.

    `best` is of the best evaluation in training. Where that was an exact `discounted` value, `random_value` and
    `final_value` are the values to compare it with (else None), and `random` and `final` are undiscounted returns.
    `best_of` says of how many episodes it is, and `unmeasured` why nothing is known of random play.
    """

    random: float
    final: float
    best: float
    remarks: tuple[str, ...]
    discounted: bool = False
    random_value: float | None = None
    final_value: float | None = None
    best_of: str = ""
    unmeasured: str = ""

    def __str__(self) -> str:
        chance = "random play not measured" + f" ({self.unmeasured})" * bool(self.unmeasured)
        best = ("best in training", self.best)
        scores = _listed(("random play", self.random), ("final policy", self.final), *[best] * (not self.discounted))
        if math.isnan(self.random):
            scores = f"{chance}, {scores}"
        if not math.isnan(self.best):
            scores += self.best_of
        lines = [f"scores: {scores}"]
        if self.discounted:
            pairs = (("random play", self.random_value), ("final policy", self.final_value), best)
            values = ((f"{name} (discounted)", math.nan if value is None else value) for name, value in pairs)
            lines.append(f"values: {_listed(*values)}")
        return "\n".join([*lines, *(f"look: {remark}" for remark in self.remarks)])


def judge(facts: Facts) -> Verdict:
    """The verdict on a run; a remark names how many seeds it is about, what to look at and what to do.

    A seed has one diagnosis, the first that fits: the advice of two may contradict each other.
    """
    free = np.ones(facts.final.size, np.bool_)
    remarks = []
    with np.errstate(invalid="ignore"):  # two scores of minus infinity have no difference
        for applies, describe in (
            (_clipped, _say_clipped),
            (_fallen, _say_fallen),
            (_lost, _say_lost),
            (_stuck, _say_stuck),
            (_not_better, _say_not_better),
        ):
            which = applies(facts) & free
            free = free & ~which
            if which.any():
                remarks.append(describe(facts, which))
    return Verdict(
        facts.random,
        _mean(facts.final),
        _mean(facts.best),
        tuple(remarks),
        facts.discounted,
        facts.floor if facts.discounted else None,
        _mean(facts.graded) if facts.discounted else None,
        _best_of(facts),
        facts.unmeasured if math.isnan(facts.random) else "",
    )


def _best_of(facts: Facts) -> str:
    """Of how many episodes the best and the final score are; nothing where they are exact."""
    if not facts.eval_episodes or not facts.episodes:
        return ""
    highest = f"the highest of {facts.evaluations:,} evaluations" if facts.evaluations > 1 else "1 evaluation"
    return f" ({highest} of {_episodes(facts.eval_episodes)}; final policy: {_episodes(facts.episodes)})"


def _episodes(n: int) -> str:
    return f"{n:,} episode{'s' * (n != 1)}"


def _say_not_better(facts: Facts, which: BoolArray) -> str:
    if facts.offline:
        return (
            f"no better than random play{_of(which)}: train longer, or give data that hold better play; the train/ "
            "columns of the history say whether anything is learned"
        )
    return (
        f"no better than random play{_of(which)}: train longer or explore more; `bellmax check-env` looks at the "
        "environment, and the train/ columns of the history say whether anything is learned"
    )


def _say_stuck(facts: Facts, which: BoolArray) -> str:
    kind = "the time limit" if facts.limited else "the cut-off of an evaluation"
    advice = "train longer, or explore longer (exploration_fraction, exploration_final_eps)"
    if facts.offline:
        advice = "train longer, or give data that hold better play"
    if facts.learning_rate > LARGE_RATE:
        advice = f"give a smaller learning_rate first (it is {facts.learning_rate:.4g}), then {advice}"
    return (
        f"every final episode ran into {kind}, {facts.cutoff:,} steps{_of(which)}: the policy goes in circles or "
        f"stands still; {advice}"
    )


def _say_lost(facts: Facts, which: BoolArray) -> str:
    cause = "exploring gets it out of where the greedy policy stays; give a smaller exploration_final_eps"
    if facts.averaged:
        cause = "the averaged parameters may be worse than the network itself; compare weight_averaging=False"
    return (
        f"training was good and the evaluation is not{_of(which)}: {_mean(facts.training, which):.4g} with "
        f"exploration, {_mean(facts.final, which):.4g} without: {cause}, or train longer"
    )


def _say_fallen(facts: Facts, which: BoolArray) -> str:
    low = _mean(facts.graded, which)
    return (
        f"the final policy is far below the best one{_of(which)}: {low:.4g}{' (it never ends)' * math.isinf(low)}, and "
        f"{_mean(facts.best, which):.4g} at step {_mean(facts.best_step, which):,.0f}: use policy(seed, 'best') "
        "or `bellmax eval --which best`, and a smaller learning_rate or learning_rate_schedule=linear"
    )


def _say_clipped(facts: Facts, which: BoolArray) -> str:
    return (
        f"{np.nanmax(facts.clipped):.0%} of the targets were outside the atoms{_of(which)}: give "
        "v_min and v_max around all discounted returns"
    )


def _clipped(facts: Facts) -> BoolArray:
    return np.asarray(facts.clipped > CLIPPED)


def _lost(facts: Facts) -> BoolArray:
    """Far better in training than the final policy, by more than chance."""
    far = _far_above(facts.training, facts.final, facts.random, facts.training_error, facts.error, facts.random_error)
    return far & ~_optimal(facts)


def _fallen(facts: Facts) -> BoolArray:
    """Far below its best. The best of many evaluations is high by luck also where all policies are alike."""
    lucky = 1.0 + math.sqrt(2.0 * math.log(max(facts.evaluations, 1))) / SURE
    error = facts.graded_error * lucky
    far = _far_above(facts.best, facts.graded, facts.floor, error, facts.graded_error, facts.random_error)
    if facts.eval_episodes:  # then the final episodes, often many more, are of the same quantity
        far = far & _far_above(facts.best, facts.final, facts.random, error, facts.error, facts.random_error)
    return far & ~_optimal(facts)


def _optimal(facts: Facts) -> BoolArray:
    return np.asarray(facts.optimal == 1.0)


def _not_better(facts: Facts) -> BoolArray:
    """Within the noise of random play, or below it; but not where all play has one same return, other than nothing."""
    noise = ALIKE * np.hypot(facts.error, facts.random_error) + 1e-9 * min(abs(facts.random), 1e300)
    alike = (
        (facts.random_error == 0.0) & (facts.final == facts.random) & (facts.random != 0.0) & (facts.at_cutoff < 1.0)
    )
    return np.asarray((facts.final <= facts.random + noise) & ~alike) & ~_optimal(facts)


def _stuck(facts: Facts) -> BoolArray:
    """At the cut-off each time, and not because it survives that long: nothing is gained there.

    To last until the time limit is success where each step pays (CartPole), inevitable where nothing ends before, and
    no fault of a policy that is far better than random play. Without a limit the score of a policy that never ends
    depends on the cut-off: it is stuck if it is known not to be the best.
    """
    always = (facts.at_cutoff >= 1.0) & ~(facts.final > 0.0) & ~_optimal(facts)
    better = facts.final - facts.random > SURE * np.hypot(facts.error, facts.random_error)
    others_end = facts.random_at_cutoff < 1.0
    endless = (facts.optimal == 0.0) & (facts.ends and not facts.limited)
    return np.asarray(always & (endless | (~better & others_end)))


def _far_above(
    high: FloatArray, low: FloatArray, floor: float, high_error: FloatArray, low_error: FloatArray, floor_error: float
) -> BoolArray:
    """Whether more than half of what `high` has above random play is missing in `low`; False where it is not known.

    Both differences must exceed what chance explains, given the standard errors.
    """
    gained, known = high - floor, np.isfinite(high) & np.isfinite(floor) & ~np.isnan(low)
    small = 1e-9 * (1.0 + abs(floor))
    sure = (gained > SURE * np.hypot(high_error, floor_error) + small) & (
        high - low > SURE * np.hypot(high_error, low_error)
    )
    return np.asarray(known & sure & (high - low > HALF * np.where(known, gained, np.inf)))


def _listed(*scores: tuple[str, float]) -> str:
    return ", ".join(f"{name} {score:.4g}" for name, score in scores if not math.isnan(score))


def _of(which: BoolArray) -> str:
    return "" if which.all() else f" ({int(which.sum()):,} of {which.size:,} seeds)"


def _mean(values: FloatArray, which: BoolArray | None = None) -> float:
    known = values[~np.isnan(values)] if which is None else values[which & ~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
