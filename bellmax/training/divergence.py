"""NumPy. Check a chunk of learning: values that are not finite, that diverge, or that a head's atoms cannot express."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import ArrayDict, FloatArray, IntArray, NonFiniteError, counted
from bellmax.loops.loop import Chunk
from bellmax.loops.pacing import is_sound


def check_finite(seeds: Sequence[int], chunks: Sequence[Chunk], begin: int, end: int) -> None:
    """Check that the metrics of the steps from `begin` to `end` are finite.

    Raises:
        NonFiniteError: names the metric and the seed.
    """
    for seed, chunk in zip(seeds, chunks, strict=True):
        for name, value in chunk.metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} of seed {seed} became {value} between steps {begin:,} and {end:,}; "
                    "lower learning_rate, or scale the rewards"
                )


@contextmanager
def blaming(world: str, find: Callable[[], str]) -> Iterator[None]:
    """Name the environment in a NonFiniteError raised inside, if `find()` says where it gave what is not finite."""
    try:
        yield
    except NonFiniteError as error:
        if found := find():
            raise NonFiniteError(
                f"{world}: {found}; repair the environment (bellmax.check_world examines it), or bound the value with "
                "jnp.clip"
            ) from error
        raise


def blame_returns(seeds: Sequence[int], chunks: Sequence[Chunk]) -> str:
    """Return the first seed with an episode whose return is not finite, in words; "" if all are."""
    for seed, (returns, lengths) in zip(seeds, (chunk.episodes for chunk in chunks), strict=True):
        for value, length in zip(returns.tolist(), lengths.tolist(), strict=True):
            if not math.isfinite(value):
                return f"seed {seed}, an episode of {counted(length, 'step')}: the sum of its rewards is {value}"
    return ""


MOST_CHECKED = 2**24  # values; reading a larger table at every record would take longer than learning


def check_arrays(
    seeds: Sequence[int], policies: Sequence[ArrayDict], config: AgentConfig, begin: int, end: int
) -> None:
    """Check that the tables or parameters of all seeds, learned in the steps from `begin` to `end`, are finite.

    Larger arrays than `MOST_CHECKED` are left to `check_finite`.

    Raises:
        NonFiniteError: names the array and the seed.
    """
    for seed, arrays in zip(seeds, policies, strict=True):
        for name, array in arrays.items():
            if array.size <= MOST_CHECKED and not is_sound(array):
                own = "; if the kernel is your own, check what it writes" if config.family == "table" else ""
                raise NonFiniteError(
                    f"{name} of seed {seed} has a NaN or an infinity between steps {begin:,} and {end:,}; "
                    f"lower learning_rate, or scale the rewards{own}"
                )


class ValueScale(NamedTuple):
    """How large the values of each seed [seeds] may be.

    Attributes:
        reward: the largest |reward| so far.
        first: the first value.
        longest: steps of the longest episode that has ended.
        running: the most steps that the present episode can have so far.
    """

    reward: FloatArray
    first: FloatArray
    longest: FloatArray
    running: FloatArray

    @classmethod
    def of(cls, n: int) -> ValueScale:
        """Return the scale of n seeds before the first record."""
        return cls(np.zeros(n), np.full(n, np.nan), np.zeros(n), np.zeros(n))


FAR = 10.0  # times the bound on values: more than chance
GROWN = 2.0  # times the first value: more than an untrained network's output
AT_ONCE = 1000.0  # times the bound: a value this large need not have grown


def check_divergence(
    seeds: Sequence[int], chunks: Sequence[Chunk], scale: ValueScale, config: AgentConfig, begin: int, end: int
) -> None:
    """Check that values are not larger than any sum of rewards; `scale` is updated in place.

    With rewards of at most R over n steps, no value is above R / (1 - γ^n); with γ = 1, none is above R / n times the
    steps of the longest episode, which may be the present one. Ten times that is not chance. But a network is not
    trained when it starts: large observations, random priors or the middle of the atoms make values that have nothing
    to do with rewards. So a value must also have grown, to twice the first one, or be out of all proportion. Means over
    atoms cannot leave them, so categorical heads pass. R counts as 1 if it is less.

    Raises:
        NonFiniteError: names the seed, the value and the bound.
    """
    limits = config.limits()
    if limits is None:
        return
    for i, (seed, chunk) in enumerate(zip(seeds, chunks, strict=True)):
        scale.reward[i] = max(scale.reward[i], chunk.metrics.get("train/max_reward", 0.0))
        most = _longest(scale, i, chunk.episodes.lengths, end - begin)
        horizon = max(most / limits.steps, 1.0) if limits.discount == 1.0 else 1.0 / (1.0 - limits.discount)
        if limits.bounds or (value := abs(chunk.metrics.get("train/q", math.nan))) != value:
            continue
        scale.first[i] = np.fmin(scale.first[i], value)
        reward = max(scale.reward[i], 1.0) + limits.bonus
        bound = FAR * reward * horizon
        grown = value > GROWN * scale.first[i] or value > AT_ONCE * bound
        if value > bound and grown:
            raise NonFiniteError(
                f"train/q of seed {seed} is {value:.3g} at step {end:,}, but rewards of at most {reward:.3g} "
                f"add up to {reward * horizon:.3g}: it diverges; lower learning_rate, or give normalization='layer', "
                "double=True or a longer target_update_interval"
            )


def _longest(scale: ValueScale, i: int, lengths: IntArray, steps: int) -> float:
    """Return the steps of the longest episode of seed i, after a record of so many steps; updates `scale`."""
    most = max(scale.longest[i], scale.running[i] + steps)
    if lengths.size:
        scale.longest[i] = max(scale.longest[i], lengths.max())
        scale.running[i] = 0.0
    scale.running[i] += steps
    return float(most)


CLIPPED = 0.5  # share of targets outside the atoms, above which a head cannot express its values


def clipping(chunks: Sequence[Chunk], scale: ValueScale, config: AgentConfig) -> str | None:
    """Return a warning if most targets lie outside the atoms of a categorical head, else None."""
    share = max((chunk.metrics.get("train/clipped_targets", 0.0) for chunk in chunks), default=0.0)
    limits = config.limits()
    if share <= CLIPPED or limits is None or limits.bounds is None:
        return None
    low, high = limits.bounds
    horizon = max(1.0 - config.gamma, 1e-3)
    most = max(float(scale.reward.max()), 1e-9)
    return (
        f"{share:.0%} of the targets are clipped to the atoms, v_min={low:g} to v_max={high:g} "
        f"(train/clipped_targets): values outside cannot be learned; set v_min and v_max around all discounted "
        f"returns, which lie within ±{most / horizon:.3g} for rewards of at most {most:.3g}"
    )
