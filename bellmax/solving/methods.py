"""NumPy and SciPy sparse, Numba for Gauss-Seidel. What the methods of exact solving do between two Bellman backups.

A method is `make(problem) -> advance`, and `advance(backup, v) -> v` gives the values [S] to back up next, or None
where there is nothing more to gain. `solve` calls them in turn, and its last backup proves the error bound, whatever
the method was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from bellmax.contracts import ConfigError, FloatArray, IntArray, counted
from bellmax.machine import out_of_memory
from bellmax.solving.backup import SWEEPS, Backup, action_values, chosen_rows, evaluation_sweeps, sure_gain
from bellmax.solving.problem import Problem

# up to here a direct solve costs less than the sweeps it saves, whatever the structure; beyond, a factorization may
# fill up (10,000 states of random successors: a minute, not 0.1 s)
DIRECT_STATES = 512
QUICK = 0.8  # of the spread of changes may a backup leave
SETTLED = 0.05  # of the states may change their action
PATIENCE = 20  # backups of a small model; then greedy policies alternate, or the chain does not mix
PATIENCE_LARGE, LARGE_STATES = 100, 5_000  # the same where a factorisation is expensive, and where it is hopeless
Advance = Callable[[Backup, FloatArray], FloatArray | None]


def accelerated(problem: Problem) -> Advance:
    """Value iteration, sped up: values are raised by their sure gain, then the greedy policy is evaluated.

    Roughly by sweeps (modified policy iteration, Puterman 1994, section 6.5) or, in small models, once by a
    linear solve. Not while many states still change their minds and plain backups progress quickly: then the next
    policy is worth more than this one's values. If that takes many backups, policy iteration takes over: greedy
    policies may alternate without end where two are as good up to what sweeps leave, and sweeps may settle nothing
    where γ is close to 1 and the chain is periodic.
    """
    previous = solved = np.full(len(problem.reward), -1)  # no policy yet
    spread, backups = np.inf, 0
    sure: Advance | None = None
    patience = PATIENCE if len(problem.reward) <= DIRECT_STATES else PATIENCE_LARGE

    def advance(done: Backup, v: FloatArray) -> FloatArray | None:
        nonlocal previous, solved, spread, backups, sure
        backups += 1
        if backups > patience and v.size <= LARGE_STATES:
            sure = sure or policy_iteration(problem)
            return sure(done, v)
        changed, previous = np.count_nonzero(done.policy != previous), done.policy
        quick, spread = done.high - done.low < QUICK * spread, done.high - done.low
        if not changed and v.size <= DIRECT_STATES and not np.array_equal(done.policy, solved):
            solved = done.policy
            return evaluate_directly(problem, solved)
        lifted = done.v + sure_gain(problem, done.low, done.high)
        if quick and changed > SETTLED * v.size:
            return lifted
        # Sweeping further would be wasted on a policy that the next backup replaces.
        return evaluation_sweeps(problem, done.policy, lifted, 0.1 * done.residual, lift=True)

    return advance


def value_iteration(problem: Problem) -> Advance:
    """Backups and nothing else (Puterman 1994, section 6.3)."""
    del problem
    return lambda done, v: done.v


def gauss_seidel(problem: Problem) -> Advance:
    """Backups in place, state after state, each from the newest values (Puterman 1994, section 6.3.3)."""
    from bellmax.solving.sweeps import gauss_seidel_sweep

    def advance(done: Backup, v: FloatArray) -> FloatArray:
        del v
        for _ in range(SWEEPS):
            if gauss_seidel_sweep(problem, done.v) <= 0.1 * done.residual:
                break
        return done.v

    return advance


def modified_policy_iteration(problem: Problem) -> Advance:
    """Sweeps with the greedy policy between backups, nothing else (Puterman and Shin 1978)."""
    return lambda done, v: evaluation_sweeps(problem, done.policy, done.v, 0.1 * done.residual, lift=False)


def policy_iteration(problem: Problem, first: IntArray | None = None) -> Advance:
    """The greedy policy's exact value, by a sparse linear solve (Howard 1960).

    An action is given up only for one that is better by more than rounding, so no policy comes twice. When none
    is better, `SWEEPS` backups polish what the linear solver left. It begins with the greedy policy, or with
    `first [S]`.
    """
    policy, finished, left = first, False, SWEEPS

    def advance(done: Backup, v: FloatArray) -> FloatArray | None:
        nonlocal policy, finished, left
        if finished:
            left -= 1
            return done.v if left > 0 else None
        if policy is None:
            policy = done.policy
        else:
            kept = policy
            q = action_values(problem, v) if done.q is None else done.q
            states = np.arange(v.size)
            better = q[states, done.policy] > q[states, kept] + 4 * problem.rounding(v)
            policy = np.where(better, done.policy, kept)
            finished = np.array_equal(policy, kept)
        return done.v if finished else evaluate_directly(problem, policy)

    return advance


def linear_programming(problem: Problem) -> Advance:
    """The least v with v >= r + γ P v for every action (Puterman 1994, section 6.9), by HiGHS.

    HiGHS keeps constraints to about 1e-7 only, so policy iteration takes its answer to the end.
    """
    polish: Advance | None = None

    def advance(done: Backup, v: FloatArray) -> FloatArray | None:
        nonlocal polish
        if polish is not None:
            return polish(done, v)
        polish = policy_iteration(problem)
        return _linear_program(problem)

    return advance


def _linear_program(problem: Problem) -> FloatArray:
    """The program's answer [S]. Where γ is so close to 1 that HiGHS has none, with v = g / (1 - β) + h, h_0 = 0."""
    from scipy.optimize import linprog

    S, A = problem.reward.shape
    exists = np.isfinite(problem.reward.ravel())
    own = sp.csr_array((np.ones(S * A), np.repeat(np.arange(S), A), np.arange(S * A + 1)), shape=(S * A, S))
    constraint: Any = sp.csr_array(problem.gamma * problem.onward - own)[exists]
    right = -problem.reward.ravel()[exists]
    program = linprog(np.ones(S), constraint, right, bounds=(None, None), method="highs")
    if program.x is not None:
        return np.asarray(program.x, np.float64)
    # The sum over next states is taken before it is divided: in floating point 1 - γ has few digits left.
    lasts = 1 - problem.gamma * np.asarray(problem.onward.sum(axis=1), np.float64)[exists]
    least = float(lasts.min())
    columns: Any = sp.hstack([sp.csr_array(-(lasts / least)[:, None]), constraint[:, 1:]])
    objective = np.append(S / least, np.ones(S - 1)) * least
    program = linprog(objective, columns.tocsr(), right, bounds=(None, None), method="highs")
    if program.x is None:
        raise ConfigError(f"the linear program has no answer: {program.message}; use another method")
    return np.append(0.0, program.x[1:]) + float(program.x[0]) / least


def evaluate_directly(problem: Problem, policy: IntArray) -> FloatArray:
    """V [S] of a policy [S]: the sparse system (I - γ P_π) v = r_π."""
    onward, reward = chosen_rows(problem, policy)
    return linear_solve(sp.eye_array(policy.size) - problem.gamma * onward, reward)


def linear_solve(system: sp.sparray, right: FloatArray) -> FloatArray:
    """The solution [n] of a square sparse system, by LU factorization.

    Raises:
        ResourceError: its factors do not fit in memory.
    """
    with out_of_memory(f"the factorization for {counted(len(right), 'state')}", "use method='value-iteration'"):
        return np.asarray(spsolve(sp.csc_array(system), right), np.float64).reshape(right.shape)


MethodName: TypeAlias = Literal[
    "auto", "value-iteration", "gauss-seidel", "policy-iteration", "modified-policy-iteration", "linear-programming"
]
METHODS: dict[MethodName, Callable[[Problem], Advance]] = {
    "auto": accelerated,
    "value-iteration": value_iteration,
    "gauss-seidel": gauss_seidel,
    "policy-iteration": policy_iteration,
    "modified-policy-iteration": modified_policy_iteration,
    "linear-programming": linear_programming,
}
