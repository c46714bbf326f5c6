"""NumPy and SciPy sparse. What a given policy is worth, and where it spends its time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.mdp.backup import check_gamma
from bellmax.mdp.methods import linear_solve
from bellmax.mdp.model import FiniteMDP, continuation, expected_reward
from bellmax.types import ConfigError, FloatArray


def evaluate_policy(mdp: FiniteMDP, policy: npt.ArrayLike, gamma: float) -> FloatArray:
    """V [S] of a policy, `[S]` actions or `[S, A]` probabilities: the sparse system (I - γ P_π) v = r_π.

    Raises:
        ConfigError: gamma is outside [0, 1), or the policy is not one for this model.
    """
    check_gamma(gamma)
    onward, reward = markov_chain(mdp, policy)
    return linear_solve(sp.eye_array(mdp.n_states) - gamma * onward, reward)


def markov_chain(mdp: FiniteMDP, policy: npt.ArrayLike) -> tuple[sp.csr_array[np.float64], FloatArray]:
    """`(P_π [S, S], r_π [S])`; a row of P_π sums to 1 minus the probability of the end. Raises as `choice`."""
    chosen = choice(mdp, policy)
    return sp.csr_array(chosen @ continuation(mdp)), np.asarray(chosen @ expected_reward(mdp).ravel(), np.float64)


def horizon_return(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int, gamma: float = 1.0) -> float:
    """The expected return of a policy over the first `horizon` steps, from the start distribution.

    Exact but for rounding: the state distribution is carried forward, what terminates leaves it. With γ = 1
    on FrozenLake this is the probability of success within the time limit.

    Raises:
        ConfigError: gamma is outside [0, 1], horizon is negative, or the policy is not one for this model.
    """
    check_gamma(gamma)
    onward, reward = markov_chain(mdp, policy)
    return _forward(mdp, onward, horizon, gamma, reward)


def horizon_length(mdp: FiniteMDP, policy: npt.ArrayLike, horizon: int) -> float:
    """The expected steps of an episode that is cut off after `horizon`. Raises as `horizon_return`."""
    return _forward(mdp, markov_chain(mdp, policy)[0], horizon, 1.0, np.ones(mdp.n_states))


def _forward(mdp: FiniteMDP, onward: sp.csr_array[np.float64], horizon: int, gamma: float, gain: FloatArray) -> float:
    """The sum over t < horizon of γ^t E[gain(S_t); not yet terminated], `gain [S]`."""
    if horizon < 0:
        raise ConfigError(f"horizon={horizon} is negative; it counts steps")
    forward = sp.csr_array(onward.T)
    alive, total = mdp.start, 0.0  # alive [S] = γ^t P(S_t = s, not yet terminated)
    for _ in range(horizon):
        if not alive.any():
            break
        total += float(alive @ gain)
        alive = gamma * np.asarray(forward @ alive)
    return total


def choice(mdp: FiniteMDP, policy: npt.ArrayLike) -> sp.csr_array[np.float64]:
    """[S, S*A]: the policy as a matrix that picks, or mixes, the rows of a state.

    Raises:
        ConfigError: the policy is neither actions `[S]` nor probabilities `[S, A]` of this model.
    """
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
    chosen = sp.csr_array((weight, column, np.arange(S + 1) * width), shape=(S, S * A))
    chosen.eliminate_zeros()  # 0 times the -inf of a missing action is no number
    return chosen
