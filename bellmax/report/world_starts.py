"""NumPy and JAX. Where the episodes of a compiled environment begin, and whether a step goes back there by itself."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, BoolArray, counted
from bellmax.envs.findings import Findings, Level
from bellmax.envs.functional import World
from bellmax.keys import make_key

KEYS = 64  # resets that are compared
WIDER = 0.1  # share of a range by which other resets may leave it
MOST = 0.9  # share of the ends at a start from which a step seems to reset itself
CHANCE = 0.02  # probability of so many ends at a start by chance, above which nothing is said
DRAW = "fine if all episodes begin alike; otherwise draw the state from the key that reset is given"
OWN = (
    "return the state and the observation after the action, also where terminated or truncated is true: bellmax calls "
    "reset. If episodes truly end where they begin, this is right"
)


class Starts(NamedTuple):
    """The lowest and highest numbers of the state and observation in many resets."""

    low: Any
    high: Any

    def have(self, state: object, obs: object) -> Array:
        """Return whether an episode could begin like this: all numbers are within the ranges of the resets."""

        def within(value: Array, low: Array, high: Array) -> Array:
            margin = WIDER * (high - low)
            number = as_numbers(value)
            return jnp.all((number >= low - margin) & (number <= high + margin))

        return jnp.all(jnp.stack(jax.tree.leaves(jax.tree.map(within, (state, obs), self.low, self.high))))


def as_numbers(value: Array) -> Array:
    """Return any array of a state as float32, also flags and random keys."""
    data = jax.random.key_data(value) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value
    return data.astype(jnp.float32)


def find_starts(world: World[Any], seed: int, findings: Findings) -> Starts:
    """Return the ranges of many resets, and report a reset that draws random numbers to no effect."""
    keys = jax.random.split(make_key(seed), KEYS)
    resets = jax.tree.map(as_numbers, jax.jit(jax.vmap(world.reset))(keys))
    starts = Starts(*(jax.tree.map(lambda leaf, f=f: f(leaf, axis=0), resets) for f in (jnp.min, jnp.max)))
    alike = all(np.array_equal(*ends) for ends in zip(*map(jax.tree.leaves, starts), strict=True))
    draws = re.search(r"\brandom_(bits|split|fold_in|seed|wrap)\b", str(jax.make_jaxpr(world.reset)(keys[0])))
    findings.well("starts", "all episodes begin alike" if alike else f"{KEYS} keys begin different episodes")
    if alike and draws:
        what = f"reset draws random numbers, but returns the same state for {KEYS} different keys"
        findings.add("starts", "hint", what, DRAW)
    return starts


def judge_ends(
    terminated: BoolArray, truncated: BoolArray, before: BoolArray, after: BoolArray, findings: Findings
) -> None:
    """Report an environment whose step returns the start of the next episode when one ends.

    `terminated` and `truncated` [T] mark the steps at which episodes ended, `before` and `after` [T] whether an episode
    could begin as the environment was before and after each step. What follows a truncated episode is learned from.
    """
    ordinary = after[~(terminated | truncated)]
    share = max(0.01, float(ordinary.mean())) if ordinary.size else 1.0
    ends: list[tuple[str, Level, BoolArray]]
    ends = [("terminated", "warning", terminated), ("truncated", "error", truncated & ~terminated)]
    for name, level, over in ends:
        left = over & ~before  # an episode that has never left the start says nothing
        n, back = int(left.sum()), int((left & after).sum())
        if n and back >= MOST * n and share**n <= CHANCE:
            what = (
                f"{back:,} of {counted(n, 'episode')} {name} in a state from which episodes begin: step resets itself"
            )
            findings.add("resets", level, what, OWN)
