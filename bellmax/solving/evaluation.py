"""NumPy and SciPy sparse. What a given policy is worth."""

from __future__ import annotations

from typing import Literal, Never

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.arguments import check_call, integer, one_of, real
from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.asking import check_model
from bellmax.solving.chain import Chain, make_chain, name_states
from bellmax.solving.methods import linear_solve
from bellmax.solving.problem import EPSILON, check_gamma
from bellmax.solving.recurrence import stationary
from bellmax.solving.shortest_path import chain_values


def evaluate_policy(
    mdp: FiniteMDP,
    policy: npt.ArrayLike,
    gamma: float | None = None,
    *misplaced: Never,
    method: Literal["direct", "iterative"] = "direct",
    tolerance: float = 1e-10,
    **unknown_names: Never,
) -> FloatArray:
    """V [S] of a policy, `[S]` actions or `[S, A]` probabilities: the sparse system (I - γ P_π) v = r_π.

    With γ = 1 the total reward; a loop that is never left counts 0 if each of its steps has an expected reward of 0.

    Args:
        mdp: the model.
        policy: actions or probabilities.
        gamma: the discount per step, in [0, 1]; must be given.
        *misplaced: refused, with what to write.
        **unknown_names: refused, with what to write.
        method: direct (LU factorization) or iterative (sweeps, raised by their sure gain; at γ = 1 BiCGSTAB).
        tolerance: of the iterative method with γ < 1: how far a value may be from the exact one, but for rounding.

    Raises:
        ConfigError: gamma or method is unknown, the policy is not one for this model, or it never ends from some
            states and γ = 1; the message names them.
    """
    mdp = check_model(mdp)
    unnamed = "three arguments without a name, the model, the policy and gamma"
    check_call(evaluate_policy, "method", misplaced, unknown_names, {"discount": "gamma"}, unnamed)
    gamma = check_gamma(gamma)
    one_of("method", method, ("direct", "iterative"))
    tolerance = real("tolerance", tolerance, 0.0)
    if gamma == 1:
        v = total_reward(make_chain(mdp, policy), direct=method == "direct")
        if (endless := np.flatnonzero(~np.isfinite(v))).size:
            raise ConfigError(
                f"gamma=1: the policy never ends the episode from {name_states(mdp, endless)}; "
                "use gamma < 1, horizon_return, or evaluate_average"
            )
        return v
    chain = make_chain(mdp, policy)
    if method == "direct":
        return linear_solve(sp.eye_array(mdp.n_states) - gamma * chain.onward, chain.reward)
    return _sweep_to_the_end(chain, gamma, tolerance)


def _sweep_to_the_end(chain: Chain, gamma: float, tolerance: float) -> FloatArray:
    """The fixed point [S] of r + γ P v, within `tolerance` or the rounding."""
    mass: FloatArray = chain.onward.sum(axis=1)
    modulus, least = gamma * float(mass.max()), gamma * float(mass.min())
    v = np.zeros(mass.size)
    while True:
        new_v = chain.reward + gamma * (chain.onward @ v)
        low, high = float((new_v - v).min()), float((new_v - v).max())
        residual, size = max(high, -low), float(np.abs(new_v).max())
        if modulus * residual <= tolerance * (1 - modulus) or residual <= 8 * EPSILON * size:
            return new_v
        # All values are still sure to gain this much, so they may have it at once (MacQueen 1966).
        v = new_v + (max(low, 0.0) + min(high, 0.0)) * least / (1 - least)


def total_reward(chain: Chain, *, direct: bool = True) -> FloatArray:
    """V [S] at γ = 1; infinite from where the chain may get into a loop that pays or costs forever.

    nan where the steps of such a loop sum to 0 but are not 0, or loops of both kinds can be reached.
    """
    loops = chain.loops
    v = np.zeros(loops.size)
    for number in np.unique(loops[(loops >= 0) & (chain.reward != 0)]):
        inside = loops == number
        rewards = chain.reward[inside]
        gain = float(stationary(chain.onward[inside][:, inside]) @ rewards)
        settled = abs(gain) <= 8 * EPSILON * rewards.size * float(np.abs(rewards).max())
        v[chain.leading_to(inside)] += np.nan if settled else np.copysign(np.inf, gain)
    finite = np.isfinite(v) & (loops < 0)
    if finite.any():
        onward, reward = chain.onward[finite][:, finite], chain.reward[finite]
        system = sp.eye_array(reward.size) - onward
        v[finite] = linear_solve(system, reward) if direct else chain_values(onward, reward)
    return v


def horizon_return(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int, gamma: float = 1.0) -> float:
    """The expected return of a policy over the first `horizon` steps, from the start distribution.

    Exact but for rounding: the state distribution is carried forward, what terminates leaves it. With γ = 1
    on FrozenLake this is the probability of success within the time limit.

    Raises:
        ConfigError: gamma is outside [0, 1], horizon is negative, or the policy is not one for this model.
    """
    mdp, gamma = check_model(mdp), check_gamma(gamma)
    chain = make_chain(mdp, policy)
    return _forward(mdp, chain, horizon, gamma, chain.reward)


def horizon_length(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int) -> float:
    """The expected steps of an episode that is cut off after `horizon`. Raises as `horizon_return`."""
    return _forward(mdp, make_chain(mdp, policy), horizon, 1.0, np.ones(mdp.n_states))


def _forward(mdp: FiniteMDP, chain: Chain, horizon: int, gamma: float, gain: FloatArray) -> float:
    """The sum over t < horizon of γ^t E[gain(S_t); not yet terminated], `gain [S]`."""
    horizon = integer("horizon", horizon, 0)
    forward = sp.csr_array(chain.onward.T)
    alive, total = mdp.start, 0.0  # alive [S] = γ^t P(S_t = s, not yet terminated)
    for _ in range(horizon):
        if not alive.any():
            break
        total += float(alive @ gain)
        alive = gamma * np.asarray(forward @ alive)
    return total
