"""NumPy and SciPy sparse. A model at one discount, as a Bellman backup needs it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.arguments import real
from bellmax.contracts import ConfigError, FloatArray
from bellmax.machine import check_fits
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward

EPSILON = float(np.finfo(np.float64).eps)  # twice the unit roundoff


class Problem(NamedTuple):
    """A model as a backup needs it, at one discount.

    Attributes:
        onward: [S*A, S] the probability to be in a state next and go on.
        reward: [S, A] expected.
        gamma: the discount per step.
        mass: the largest probability to go on, max_(s,a) P(go on | s, a).
        modulus: β = γ `mass`, rounded up: by how much a backup contracts.
        least: min_(s,a) P(go on | s, a).
        scale: max |r|, at least max_(s,a) E[|r|].
        unit: the relative rounding error of a backup, as `solve` has it.
    """

    onward: sp.csr_array[np.float64]
    reward: FloatArray
    gamma: float
    mass: float
    modulus: float
    least: float
    scale: float
    unit: float

    def rounding(self, v: FloatArray) -> float:
        """The largest rounding error of a backup of `v [S]`."""
        return self.unit * (self.scale + self.modulus * float(np.abs(v).max()))


def make_problem(mdp: FiniteMDP, gamma: float) -> Problem:
    """`mdp` at a discount; its arrays are made once.

    Raises:
        ResourceError: they do not fit in memory.
    """
    check_fits(
        32 * mdp.successor.size + 40 * mdp.allowed.size,
        f"solving {mdp!r} with {mdp.successor.size:,} outcomes",
        lambda share: "use fewer states, or learn with bellmax.train(model, 'q-learning')",
    )
    onward, reward = continuation(mdp), expected_reward(mdp)
    length = np.diff(mdp.indptr)
    longest, exists = int(length.max()), length > 0  # a pair without outcomes is an action that the state lacks
    going_on: FloatArray = onward.sum(axis=1)[exists]
    mass = float(going_on.max()) * (1 + (longest + 2) * EPSILON)
    scale = max(float(mdp.reward.max()), -float(mdp.reward.min())) * (1 + 1e-7)  # probabilities sum to 1 ± 1e-8
    unit = (2 * longest + 4) * EPSILON
    return Problem(onward, reward, gamma, mass, gamma * mass, float(going_on.min()), scale, unit)


def check_gamma(gamma: object) -> float:
    """`gamma` as Python's float.

    Raises:
        ConfigError: it is missing, or not a number in [0, 1].
    """
    if gamma is None:
        raise ConfigError("give gamma, the discount per step, a number in [0, 1], such as gamma=0.99")
    return real("gamma", gamma, 0.0, 1.0)
