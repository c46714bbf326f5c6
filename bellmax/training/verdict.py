"""NumPy. Judge the numbers of a run at its end: compare them with random play and its best policy, and find problems.

All judgments are in this file and use only numbers, which `facts.py` collects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import BoolArray, FloatArray

HALF = 0.5  # of the way from random play to a better score: losing more than this is a clear loss
SURE = 3.0  # standard errors of both sides that a difference must exceed
ALIKE = 1.0  # standard errors within which a score equals that of random play
LARGE_RATE = 0.1  # a learning rate above this is the first suspect
CLIPPED = 0.5  # share of targets outside the atoms


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The numbers of each seed [seeds]; NaN if unknown.

    Attributes:
        final: the scores of the final policies.
        error: their standard errors, 0 if exact; episodes: how many each policy played, 0 if exact.
        at_cutoff: the share of final episodes that reached the time limit, or the step limit of evaluations.
        cutoff: that limit (steps); limited: whether it is the environment's own.
        optimal: 1 if the final policy is optimal, 0 if it is not.
        ends: whether the environment is known to have terminal states.
        graded, best, best_step: the last and the best evaluation during training, and the step of the best.
        graded_error: standard error of one such evaluation, 0 if exact; evaluations: how many there were, each of
            eval_episodes, 0 if exact.
        training, training_error: mean return of the last training episodes; NaN if `final` is discounted.
        random, random_error: of random play, a number; random_at_cutoff as above; unmeasured: why it is NaN.
        floor: of random play in the units of `graded` and `best`; discounted: whether those are discounted.
        averaged: whether the policies are averages of parameters.
        clipped: the share of targets outside the atoms.
        offline: whether it learned from data, without exploring; learning_rate: its initial value.
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
    """Mean scores over seeds (NaN: unknown), and a remark on each clear problem.

    `best` is the best evaluation during training. If it is an exact `discounted` value, `random_value` and
    `final_value` are the values to compare it with (else None), and `random` and `final` are undiscounted returns.
    `best_of` says how many episodes it is from, and `unmeasured` why there is no score of random play.
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
    """Return the verdict on a run; a remark says what is wrong, for how many seeds, and what to do.

    A seed has one diagnosis, the first that applies: two could give contradictory advice.
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
    """How many episodes the best and the final score are from; "" if they are exact."""
    if not facts.eval_episodes or not facts.episodes:
        return ""
    highest = f"the highest of {facts.evaluations:,} evaluations" if facts.evaluations > 1 else "1 evaluation"
    return f" ({highest} of {_episodes(facts.eval_episodes)}; final policy: {_episodes(facts.episodes)})"


def _episodes(n: int) -> str:
    return f"{n:,} episode{'s' * (n != 1)}"


def _say_not_better(facts: Facts, which: BoolArray) -> str:
    if facts.offline:
        return (
            f"no better than random play{_of(which)}: train longer, or use data from a better policy; the train/ "
            "columns of the history show whether anything is learned"
        )
    return (
        f"no better than random play{_of(which)}: train longer or explore more; `bellmax check-env` checks the "
        "environment, and the train/ columns of the history show whether anything is learned"
    )


def _say_stuck(facts: Facts, which: BoolArray) -> str:
    kind = "the time limit" if facts.limited else "the step limit of an evaluation"
    advice = "train longer, or explore longer (exploration_fraction, exploration_final_eps)"
    if facts.offline:
        advice = "train longer, or use data from a better policy"
    if facts.learning_rate > LARGE_RATE:
        advice = f"try a smaller learning_rate first (it is {facts.learning_rate:.4g}), then {advice}"
    return (
        f"every final episode reached {kind}, {facts.cutoff:,} steps{_of(which)}: the policy goes in circles or "
        f"stands still; {advice}"
    )


def _say_lost(facts: Facts, which: BoolArray) -> str:
    cause = "exploration leaves states in which the greedy policy stays; use a smaller exploration_final_eps"
    if facts.averaged:
        cause = "the averaged parameters may be worse than the network itself; compare weight_averaging=False"
    return (
        f"good in training but not in evaluation{_of(which)}: {_mean(facts.training, which):.4g} with "
        f"exploration, {_mean(facts.final, which):.4g} without: {cause}, or train longer"
    )


def _say_fallen(facts: Facts, which: BoolArray) -> str:
    low = _mean(facts.graded, which)
    return (
        f"the final policy is far below the best one{_of(which)}: {low:.4g}{' (it never ends)' * math.isinf(low)}, and "
        f"{_mean(facts.best, which):.4g} at step {_mean(facts.best_step, which):,.0f}: use policy(seed, 'best') "
        "or `bellmax eval --which best`, and try a smaller learning_rate or learning_rate_schedule=linear"
    )


def _say_clipped(facts: Facts, which: BoolArray) -> str:
    return (
        f"{np.nanmax(facts.clipped):.0%} of the targets were outside the atoms{_of(which)}: set "
        "v_min and v_max around all discounted returns"
    )


def _clipped(facts: Facts) -> BoolArray:
    return np.asarray(facts.clipped > CLIPPED)


def _lost(facts: Facts) -> BoolArray:
    """Return which seeds were far better in training than the final policy, by more than chance."""
    far = _far_above(facts.training, facts.final, facts.random, facts.training_error, facts.error, facts.random_error)
    return far & ~_optimal(facts)


def _fallen(facts: Facts) -> BoolArray:
    """Return which seeds end far below their best; the best of many evaluations is high also by luck."""
    lucky = 1.0 + math.sqrt(2.0 * math.log(max(facts.evaluations, 1))) / SURE
    error = facts.graded_error * lucky
    far = _far_above(facts.best, facts.graded, facts.floor, error, facts.graded_error, facts.random_error)
    if facts.eval_episodes:  # then the final episodes, often many more, measure the same quantity
        far = far & _far_above(facts.best, facts.final, facts.random, error, facts.error, facts.random_error)
    return far & ~_optimal(facts)


def _optimal(facts: Facts) -> BoolArray:
    return np.asarray(facts.optimal == 1.0)


def _not_better(facts: Facts) -> BoolArray:
    """Return which seeds score like random play or below it, unless every policy has the same return, not 0."""
    noise = ALIKE * np.hypot(facts.error, facts.random_error) + 1e-9 * min(abs(facts.random), 1e300)
    alike = (
        (facts.random_error == 0.0) & (facts.final == facts.random) & (facts.random != 0.0) & (facts.at_cutoff < 1.0)
    )
    return np.asarray((facts.final <= facts.random + noise) & ~alike) & ~_optimal(facts)


def _stuck(facts: Facts) -> BoolArray:
    """Return which seeds reach the step limit every time without gaining anything there.

    Reaching the time limit is a success if each step pays (CartPole), inevitable if nothing ends earlier, and not a
    problem of a policy that is far better than random play. Without a time limit, the score of a policy that never ends
    depends on the step limit: it is stuck if it is known not to be optimal.
    """
    always = (facts.at_cutoff >= 1.0) & ~(facts.final > 0.0) & ~_optimal(facts)
    better = facts.final - facts.random > SURE * np.hypot(facts.error, facts.random_error)
    others_end = facts.random_at_cutoff < 1.0
    endless = (facts.optimal == 0.0) & (facts.ends and not facts.limited)
    return np.asarray(always & (endless | (~better & others_end)))


def _far_above(
    high: FloatArray, low: FloatArray, floor: float, high_error: FloatArray, low_error: FloatArray, floor_error: float
) -> BoolArray:
    """Return where `low` lacks more than half of what `high` has above random play; False if unknown.

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
