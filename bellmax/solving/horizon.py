"""NumPy and SciPy sparse. The best policy for a fixed number of steps, which depends on how many are left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.arguments import integer
from bellmax.contracts import ConfigError, FloatArray, IntArray, counted
from bellmax.machine import check_fits
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.asking import check_model, check_values
from bellmax.solving.backup import action_values, best, greedy_actions
from bellmax.solving.problem import check_gamma, make_problem
from bellmax.solving.showing import show


class HorizonSolution(NamedTuple):
    """The optimal values with a time limit of H steps.

    Attributes:
        v: [H + 1, S] the best expected return of what is left at step t = 0 to H; `v[H]` is the terminal
            reward.
        policy: [H, S] int64, the action at step t; of actions as good as the best, the lowest index.
        bound: no value is further than this from the exact one.
        start_value: `v[0]` averaged over the start distribution.
    """

    v: FloatArray
    policy: IntArray
    bound: float
    start_value: float

    def __repr__(self) -> str:
        return show(self)


def solve_horizon(
    mdp: FiniteMDP, horizon: int, gamma: float = 1.0, *, terminal_reward: npt.ArrayLike | None = None
) -> HorizonSolution:
    """Finite-horizon dynamic programming, backwards from the last step (Puterman 1994, section 4.5).

    With γ = 1 on FrozenLake, `start_value` is the best probability of success within the time limit. The policy
    needs the clock: no policy that sees only the state does as well. The bound adds up the rounding errors of the
    backups, e + β e + β² e + ... with e and β as in `solve`.

    Args:
        mdp: the model.
        horizon: H, the number of steps.
        gamma: the discount per step, in [0, 1].
        terminal_reward: [S], what each state pays once when the H steps are over; an episode that ended before gets
            nothing. None for 0.

    Raises:
        ConfigError: gamma is outside [0, 1], horizon is negative, or terminal_reward is not [S] or not finite.
        ResourceError: the values of all steps do not fit in memory.
    """
    mdp, gamma = check_model(mdp), check_gamma(gamma)
    horizon = integer("horizon", horizon, 0)
    check_fits(
        16 * (horizon + 1) * mdp.n_states,
        f"horizon={horizon} with {counted(mdp.n_states, 'state')}",
        lambda share: f"horizon={int(share * horizon)} fits",
    )
    problem = make_problem(mdp, gamma)
    v = np.zeros((horizon + 1, mdp.n_states))
    if terminal_reward is not None:
        v[horizon] = check_values("terminal_reward", terminal_reward, (mdp.n_states,))
        if not np.isfinite(v[horizon]).all():
            raise ConfigError(f"terminal_reward is infinite in states {np.flatnonzero(~np.isfinite(v[horizon]))[:10]}")
    policy = np.zeros((horizon, mdp.n_states), np.int64)
    bound = 0.0
    for t in range(horizon - 1, -1, -1):
        q = action_values(problem, v[t + 1])
        v[t], policy[t] = best(q), greedy_actions(q)
        bound = problem.rounding(v[t + 1]) + problem.modulus * bound
    return HorizonSolution(v, policy, bound, float(mdp.start @ v[0]))
