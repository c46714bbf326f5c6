"""NumPy and SciPy sparse. The best policy among those that must explore."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.arguments import real
from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward
from bellmax.solving.asking import check_model, check_policy
from bellmax.solving.backup import action_values, greedy_actions
from bellmax.solving.methods import MethodName
from bellmax.solving.problem import check_gamma, make_problem
from bellmax.solving.solve import Progress, Solution, solve


def solve_soft(
    mdp: FiniteMDP,
    gamma: float,
    epsilon: float,
    *,
    method: MethodName = "auto",
    tolerance: float = 1e-10,
    max_iterations: int = 1_000_000,
    progress: Progress | None = None,
) -> Solution:
    """The best ε-soft policy: what ε-greedy learners such as SARSA tend to while ε stays as it is.

    Each action has a probability of at least ε / (number of actions). Then the best policy is ε-greedy, and it is
    the best policy of an environment with the exploration moved inside (Sutton and Barto 2018, section 5.4): to choose
    a there means a with probability 1 - ε, else any action. That environment is solved by `solve`.

    Returns:
        A Solution: `v [S]` of the best ε-soft policy, `q [S, A]` of truly taking an action and being ε-soft after
        it, the greedy `policy [S]`, which `soften` turns into probabilities. `bound` is as in `solve`; that the
        mixed probabilities are rounded once more (relatively by some 1e-16) is not counted.

    Raises:
        ConfigError: epsilon is outside [0, 1], or as `solve`.
    """
    mdp, gamma = check_model(mdp), check_gamma(gamma)
    mixed = solve(
        soft_model(mdp, epsilon), gamma, method=method, tolerance=tolerance, max_iterations=max_iterations,
        progress=progress,
    )  # fmt: skip
    problem = make_problem(mdp, gamma)
    q = action_values(problem, mixed.v)
    bound = problem.mass * mixed.bound + problem.rounding(mixed.v)
    policy = mixed.policy if gamma == 1 or epsilon == 1 else greedy_actions(q, bound)
    return Solution(mixed.v, q, policy, bound, mixed.iterations, mixed.start_value, mdp)


def soft_model(mdp: FiniteMDP, epsilon: float) -> FiniteMDP:
    """The model in which every action is replaced, with probability ε, by one drawn from all of the state.

    All outcomes of a pair have its mean reward, so that those with the same next state are one.

    Raises:
        ConfigError: epsilon is outside [0, 1].
    """
    mdp, epsilon = check_model(mdp), real("epsilon", epsilon, 0.0, 1.0)
    S, A = mdp.n_states, mdp.n_actions
    meant, taken = np.nonzero(np.repeat(mdp.allowed, A, axis=0) & mdp.allowed.reshape(S * A, 1))
    taken += meant // A * A
    weight = np.where(meant == taken, 1 - epsilon, 0.0) + epsilon / mdp.n_allowed[meant // A]
    mixture = sp.csr_array((weight, (meant, taken)), shape=(S * A, S * A))
    end = mdp.terminated
    ending = sp.csr_array((mdp.probability[end], (mdp.pair[end], mdp.successor[end])), shape=(S * A, S))
    parts = [sp.coo_array(mixture @ matrix) for matrix in (continuation(mdp), ending)]
    reward = np.asarray(mixture @ np.where(mdp.allowed, expected_reward(mdp), 0.0).ravel())
    pair, successor = (np.concatenate([part.coords[i] for part in parts]) for i in range(2))
    probability = np.concatenate([part.data for part in parts])
    terminated = np.repeat([False, True], [part.nnz for part in parts])
    return FiniteMDP.from_entries(
        S, A, pair, successor, probability, reward[pair], terminated, mask=mdp.allowed, start=mdp.start, name=mdp.name,
        action_names=mdp.action_names, state_names=mdp.state_names, max_episode_steps=mdp.max_episode_steps,
    )  # fmt: skip


def soften(mdp: FiniteMDP, policy: npt.ArrayLike, epsilon: float) -> FloatArray:
    """[S, A] probabilities of following `policy [S]` except that with probability ε any action is taken.

    Raises:
        ConfigError: epsilon is outside [0, 1].
    """
    mdp, epsilon = check_model(mdp), real("epsilon", epsilon, 0.0, 1.0)
    actions = check_policy(policy)
    if actions.shape != (mdp.n_states,):
        raise ConfigError(f"policy has shape {actions.shape}, expected one action for each state, {(mdp.n_states,)}")
    explore = np.where(mdp.allowed, epsilon / mdp.n_allowed[:, None], 0.0)
    greedy = np.arange(mdp.n_actions) == actions[:, None]
    return np.asarray(explore + (1 - epsilon) * greedy, np.float64)
