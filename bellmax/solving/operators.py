"""NumPy and SciPy sparse. One application of Bellman's equations, for those who write their own iteration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bellmax.arguments import real
from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.solving import backup
from bellmax.solving.asking import check_model, check_values
from bellmax.solving.chain import choice
from bellmax.solving.problem import check_gamma, make_problem


def q_values(mdp: FiniteMDP, v: npt.ArrayLike, gamma: float) -> FloatArray:
    """Q [S, A] of acting once and then being worth `v [S]`: r(s, a) + γ Σ P(s' | s, a) v(s').

    An outcome that ends the episode leads to 0. -inf where the state does not have the action.

    Raises:
        ConfigError: `mdp` is not a model, v is not [S], or gamma is outside [0, 1].
    """
    mdp = check_model(mdp)
    gamma, values = check_gamma(gamma), check_values("v", v, (mdp.n_states,))
    return backup.action_values(make_problem(mdp, gamma), values)


def bellman_operator(
    mdp: FiniteMDP, values: npt.ArrayLike, gamma: float, policy: npt.ArrayLike | None = None
) -> FloatArray:
    """One Bellman backup: T of the optimal values, or T_π of the values of a policy.

    Of state values `v [S]`, (T v)(s) = max_a (r + γ P v); of action values `q [S, A]`, (T q)(s, a) = r + γ P max_a q.
    With a policy, the mean over its actions is in the place of the maximum. Puterman (1994), sections 6.1 and 6.2.

    Args:
        mdp: the model.
        values: [S] or [S, A]; what `q` holds for actions that a state does not have is not looked at.
        gamma: the discount per step, in [0, 1].
        policy: `[S]` actions or `[S, A]` probabilities; None for the maximum.

    Returns:
        An array of the shape of `values`.

    Raises:
        ConfigError: an argument is not what it should be; the message says which.
    """
    mdp = check_model(mdp)
    gamma, pairs = check_gamma(gamma), (mdp.n_states, mdp.n_actions)
    given = check_values("values", values, pairs[:1], pairs, allowed=mdp.allowed)
    problem = make_problem(mdp, gamma)
    chosen = None if policy is None else choice(mdp, policy)

    def over_actions(q: FloatArray) -> FloatArray:
        if chosen is None:
            return backup.best(np.where(mdp.allowed, q, -np.inf))
        return np.asarray(chosen @ np.where(mdp.allowed, q, 0.0).ravel(), np.float64)

    if given.ndim == 2:
        return backup.action_values(problem, over_actions(given))
    return over_actions(backup.action_values(problem, given))


def greedy_policy(q: npt.ArrayLike, error: float = 0.0) -> IntArray:
    """[S] int64: the best action of `q [S, A]`; of actions as good as the best, the lowest index.

    "As good" is within twice `error` (two values that are each wrong by at most `error`), but never less than 1e-12
    nor more than 1e-9 of the row's largest value: rounding must not decide, and small values must. -inf marks an
    action that a state does not have.

    Raises:
        ConfigError: q is not [S, A], or holds NaN; error is negative.
    """
    try:
        shape = np.shape(q) if not hasattr(q, "_fields") else ()
    except ValueError as wrong:  # rows of different lengths
        raise ConfigError(f"`q` must be an array [S, A]: {wrong}") from wrong
    if len(shape) != 2 or 0 in shape:
        what = "a Solution: give its .q" if hasattr(q, "q") else f"shape {shape}"
        if hasattr(q, "n_states"):
            what = "a model: give the q of its solution, bx.solve(mdp, gamma=0.99).q"
        raise ConfigError(f"`q` must be an array [S, A]; got {what}")
    return backup.greedy_actions(check_values("q", q, shape), real("error", error, 0.0))
