"""NumPy and SciPy sparse. The exact answer in float64, and a proven bound on how far from exact it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from bellmax.mdp.model import FiniteMDP, continuation, expected_reward
from bellmax.types import ConfigError, FloatArray, IntArray

DIRECT_STATES = 512  # up to here a direct solve costs less than the sweeps it saves, whatever the structure
SWEEPS = 50
EPSILON = float(np.finfo(np.float64).eps)  # twice the unit roundoff


class Solution(NamedTuple):
    """The optimal values of a model, for one γ.

    Attributes:
        v: [S] float64.
        q: [S, A] float64.
        policy: [S] int64, greedy; of actions that the computation cannot tell apart, the lowest index. Where
            all values of a state are smaller than `bound`, lower `tolerance` before trusting it.
        bound: no value of `v` or `q` is further than this from the exact one.
        iterations: Bellman backups.
        start_value: `v` averaged over the start distribution: the best expected discounted return.
    """

    v: FloatArray
    q: FloatArray
    policy: IntArray
    bound: float
    iterations: int
    start_value: float


def solve(mdp: FiniteMDP, gamma: float, *, tolerance: float = 1e-10, max_iterations: int = 1_000_000) -> Solution:
    """Q* and V*, to `tolerance` in the sup norm where float64 allows it; `bound` says what was reached.

    Value iteration, sped up: between two Bellman backups all values are raised by what they are sure to gain
    (MacQueen 1966) and the greedy policy is evaluated, roughly by sweeps (modified policy iteration, Puterman
    1994, section 6.5) or, in small models, once by a linear solve. The bound needs only the last backup.

    The bound. Let T be the Bellman operator, a contraction with modulus β = γ max_(s,a) P(go on | s, a) <= γ,
    and q~ the backup of v in float64, w = max_a q~. With e the largest rounding error of that backup,

        |w - V*| <= |w - Tv| + |Tv - TV*| <= e + β |v - V*| <= e + β (|w - v| + |w - V*|),  therefore
        |w - V*| <= (β |w - v| + e) / (1 - β),

    and |q~ - Q*| <= e + β |v - V*| is at most the same number. Without e this is Puterman (1994), Theorem
    6.3.1. A sum of k products has a relative error of at most ku / (1 - ku), u = 2^-53 (Higham 2002, section
    3.1); a backup takes two of them (reward and next value, up to K terms, where merging equal successors
    adds up to K more) and two operations, so e = (2K + 4) 2u (max E[|r|] + β max |v|). The factor 2 covers
    the higher orders and the rounding of the bound itself; underflow is left out. Q* is that of the numbers
    in `mdp`: that 1/3 is stored rounded is not counted.

    Args:
        mdp: the model.
        gamma: the discount per step, in [0, 1).
        tolerance: iterate until `bound` is at most this, or the residual is nothing but rounding.
        max_iterations: then stop, with the bound as it is.

    Raises:
        ConfigError: gamma, tolerance or max_iterations is out of range.
    """
    _check_gamma(gamma)
    if not tolerance >= 0 or max_iterations < 1:
        raise ConfigError(f"tolerance={tolerance} must be at least 0, max_iterations={max_iterations} at least 1")
    onward, reward = continuation(mdp), expected_reward(mdp)
    modulus, scale, unit = _error_constants(mdp, onward, gamma)
    least = gamma * float(onward.sum(axis=1)[mdp.allowed.ravel()].min())
    v = np.zeros(mdp.n_states)
    policy = solved = np.full(mdp.n_states, -1)  # no policy yet
    for iteration in range(1, max_iterations + 1):
        q = reward + gamma * (onward @ v).reshape(reward.shape)
        new_v = _best(q)
        low, high = float((new_v - v).min()), float((new_v - v).max())
        residual = max(high, -low)
        rounding = unit * (scale + modulus * float(np.abs(v).max()))
        bound = (modulus * residual + rounding) / (1 - modulus) if modulus < 1 else np.inf
        if bound <= tolerance or residual <= rounding or iteration == max_iterations:
            break
        previous, policy = policy, greedy_policy(q)
        repeated = np.array_equal(policy, previous)
        if repeated and mdp.n_states <= DIRECT_STATES and not np.array_equal(policy, solved):
            v, solved = evaluate_policy(mdp, policy, gamma), policy
        else:
            # All values rose by `low` or more, so the next backup lifts them by `least * low`, and so on.
            sure = (max(low, 0.0) + min(high, 0.0)) * least / max(1 - least, EPSILON)
            v = _sweep(onward, reward, policy, gamma, new_v + sure, residual)
    policy = greedy_policy(q, bound)
    return Solution(new_v, q, policy, bound, iteration, float(mdp.start @ new_v))


def greedy_policy(q: FloatArray, error: float = 0.0) -> IntArray:
    """[S] int64: the best action of `q [S, A]`; of actions as good as the best, the lowest index.

    "As good" is within twice `error` (two values that are each wrong by at most `error`), but never less than
    1e-12 nor more than 1e-9 of the row's largest value: rounding must not decide, and small values must.
    """
    best = _best(q)
    size = np.maximum(np.abs(best), _best(np.where(np.isneginf(q), 0.0, -q)))  # -inf: the state lacks the action
    good = best - np.clip(2 * error, 1e-12 * size, 1e-9 * size)
    policy = np.zeros(len(q), np.int64)
    for a in range(q.shape[1] - 1, -1, -1):
        policy[q[:, a] >= good] = a
    return policy


def _best(q: FloatArray) -> FloatArray:
    """Max_a q, [S]. Columns, for NumPy reduces short rows one by one."""
    best = q[:, 0].copy()
    for a in range(1, q.shape[1]):
        np.maximum(best, q[:, a], out=best)
    return best


def evaluate_policy(mdp: FiniteMDP, policy: npt.ArrayLike, gamma: float) -> FloatArray:
    """V [S] of a policy, `[S]` actions or `[S, A]` probabilities: the sparse system (I - γ P_π) v = r_π.

    Raises:
        ConfigError: gamma is outside [0, 1), or the policy is not one for this model.
    """
    _check_gamma(gamma)
    choice = _choice(mdp, policy)
    system = sp.eye_array(mdp.n_states) - gamma * (choice @ continuation(mdp))
    return np.asarray(spsolve(sp.csc_array(system), choice @ expected_reward(mdp).ravel()), np.float64)


def horizon_return(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int, gamma: float = 1.0) -> float:
    """The expected return of a policy over the first `horizon` steps, from the start distribution.

    Exact but for rounding: the state distribution is carried forward, what terminates leaves it. With γ = 1
    on FrozenLake this is the probability of success within the time limit.

    Raises:
        ConfigError: gamma is outside [0, 1], horizon is negative, or the policy is not one for this model.
    """
    if not 0 <= gamma <= 1:
        raise ConfigError(f"gamma={gamma} is outside [0, 1]")
    reward = np.asarray(_choice(mdp, policy) @ expected_reward(mdp).ravel())
    return _forward(mdp, policy, horizon, gamma, reward)


def horizon_length(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int) -> float:
    """The expected steps of an episode that is cut off after `horizon`. Raises as `horizon_return`."""
    return _forward(mdp, policy, horizon, 1.0, np.ones(mdp.n_states))


def _forward(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int, gamma: float, gain: FloatArray) -> float:
    """The sum over t < horizon of γ^t E[gain(S_t); not yet terminated], `gain [S]`."""
    if horizon < 0:
        raise ConfigError(f"horizon={horizon} is negative; it counts steps")
    forward = sp.csr_array((_choice(mdp, policy) @ continuation(mdp)).T)
    alive, total = mdp.start, 0.0  # alive [S] = γ^t P(S_t = s, not yet terminated)
    for _ in range(horizon):
        if not alive.any():
            break
        total += float(alive @ gain)
        alive = gamma * np.asarray(forward @ alive)
    return total


def _sweep(
    onward: sp.csr_array[np.float64],
    reward: FloatArray,
    policy: IntArray,
    gamma: float,
    v: FloatArray,
    residual: float,
) -> FloatArray:
    """Evaluates a policy from v [S], until what is left is a tenth of the Bellman residual.

    More would be wasted on a policy that the next backup replaces.
    """
    states = np.arange(v.size)
    onward, reward = onward[states * reward.shape[1] + policy], reward[states, policy]
    for _ in range(SWEEPS):
        new_v = reward + gamma * (onward @ v)
        change = float(np.abs(new_v - v).max())
        v = new_v
        if change <= 0.1 * residual:
            break
    return v


def _error_constants(mdp: FiniteMDP, onward: sp.csr_array[np.float64], gamma: float) -> tuple[float, float, float]:
    """(β, max E[|r|], relative rounding error of a backup), as in `solve`; β is rounded up."""
    longest = int(np.diff(mdp.indptr).max())
    mass = float(onward.sum(axis=1).max())
    paid = np.bincount(mdp.pair, mdp.probability * np.abs(mdp.reward))
    return gamma * mass * (1 + (longest + 2) * EPSILON), float(paid.max()), (2 * longest + 4) * EPSILON


def _choice(mdp: FiniteMDP, policy: npt.ArrayLike) -> sp.csr_array[np.float64]:
    """[S, S*A]: the policy as a matrix that picks, or mixes, the rows of a state."""
    S, A = mdp.n_states, mdp.n_actions
    given = np.asarray(policy)
    if given.shape == (S,) and np.issubdtype(given.dtype, np.integer):
        if outside := [int(s) for s in np.flatnonzero((given < 0) | (given >= mdp.n_allowed))[:10]]:
            raise ConfigError(f"policy: states {outside} have actions outside 0 to {A - 1}, or that they lack")
        weight, actions, width = np.ones(S), given, 1
    elif given.shape == (S, A):
        wrong = ~(np.isclose(given.sum(axis=1), 1, rtol=0, atol=1e-8) & (given >= 0).all(axis=1))
        wrong |= ((given > 0) & ~mdp.allowed).any(axis=1)
        if wrong.any():
            raise ConfigError(f"policy: states {np.flatnonzero(wrong)[:10].tolist()} have no distribution")
        weight, actions, width = given.ravel().astype(np.float64), np.tile(np.arange(A), S), A
    else:
        raise ConfigError(
            f"policy {given.shape} of {given.dtype} is neither actions ({S},) nor probabilities ({S}, {A})"
        )
    column = np.repeat(np.arange(S) * A, width) + actions
    choice = sp.csr_array((weight, column, np.arange(S + 1) * width), shape=(S, S * A))
    choice.eliminate_zeros()  # 0 times the -inf of a missing action is no number
    return choice


def _check_gamma(gamma: float) -> None:
    if not 0 <= gamma < 1:
        raise ConfigError(
            f"gamma={gamma} is outside [0, 1); use 0.9999 for nearly undiscounted values, or "
            "horizon_return for the undiscounted return of a policy over a number of steps"
        )
