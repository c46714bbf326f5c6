"""NumPy and SciPy sparse. The exact answer in float64, and a proven bound on how far from exact it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Never

import numpy as np

from bellmax.arguments import check_call, check_callable, integer, one_of, real
from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.pictures.curve_svg import state_values_svg
from bellmax.pictures.html_card import html_card
from bellmax.pictures.state_numbers import What
from bellmax.solving.asking import check_model
from bellmax.solving.backup import action_values, backup, best, cancelled, greedy_actions
from bellmax.solving.evaluation import evaluate_policy, horizon_length, horizon_return
from bellmax.solving.methods import METHODS, MethodName
from bellmax.solving.problem import Problem, check_gamma, make_problem
from bellmax.solving.showing import show

if TYPE_CHECKING:
    from bellmax.pictures.picture import Picture

__all__ = ["Solution", "evaluate_policy", "greedy_actions", "horizon_length", "horizon_return", "solve"]
Progress = Callable[[int, float], None]
MOST_ON_CARD = 2_500  # states of a map that a notebook shows unasked
UNNAMED = "two arguments without a name, the model and gamma"
ELSEWHERE = {"discount": "gamma", "discount_factor": "gamma", "tol": "tolerance", "max_iter": "max_iterations"}


class Solution(NamedTuple):
    """The optimal values of a model, for one γ.

    Attributes:
        v: [S] float64.
        q: [S, A] float64; -inf where the state lacks the action.
        policy: [S] int64, greedy; of actions that the computation cannot tell apart, the lowest index; at γ = 1,
            of those that end the episode soonest. Where all values of a state are smaller than `bound`, lower
            `tolerance` before trusting it.
        bound: no value of `v` or `q` is further than this from the exact one; infinite where that is not proven.
        iterations: Bellman backups; at γ = 1, policies evaluated.
        start_value: `v` averaged over the start distribution: the best expected return.
        mdp: the model.
    """

    v: FloatArray
    q: FloatArray
    policy: IntArray
    bound: float
    iterations: int
    start_value: float
    mdp: FiniteMDP | None = None

    def __repr__(self) -> str:
        return show(self)

    def show(self, what: What = "value", *, title: str = "", everything: bool = False) -> Picture:
        """Return a picture of the answer: a map, if the states are on one, else a table; it prints and displays itself.

        `print(solution.show())` draws it in a terminal, a notebook shows it as SVG, and `.save(path)` writes a file.

        Args:
            what: "value" with the greedy actions, "policy" for these only, or "q" for the value of each action.
            title: over the picture.
            everything: show all states, also where they do not fit.

        Raises:
            ConfigError: `what` is something else, or the solution was made without its model.
        """
        from bellmax.solving.solution_picture import picture_of_answer

        parts = self.v, self.q, self.policy, self.bound
        return picture_of_answer(self.mdp, *parts, what, title=title, everything=everything)

    def _repr_html_(self) -> str:
        """Return the solution for a notebook: its numbers, and the value of each state, on a map if there is one."""
        rows = (
            ("states, actions", f"{self.q.shape[0]:,}, {self.q.shape[1]:,}"),
            ("value of the start", f"{self.start_value:.10g}"),
            ("error of any value", f"at most {self.bound:.2g}"),
            ("iterations", f"{self.iterations:,}"),
        )
        picture = self.show() if self.mdp is not None and self.v.size <= MOST_ON_CARD else None
        if picture is None or picture.map is None:
            return html_card("Solution", rows, state_values_svg(self.v))
        return html_card("Solution", rows, picture._repr_html_())


def solve(
    mdp: FiniteMDP,
    gamma: float | None = None,
    *misplaced: Never,
    method: MethodName = "auto",
    tolerance: float = 1e-10,
    max_iterations: int = 1_000_000,
    progress: Progress | None = None,
    **unknown_names: Never,
) -> Solution:
    """Q* and V*, to `tolerance` in the sup norm where float64 allows it; `bound` says what was reached.

    Bellman backups, and between them what `methods.py` has under the method's name. The bound needs only the
    last backup. γ = 1 is the total reward of episodes that end, by policy iteration: `episodic.py` says what that
    is where policies need not end, and has a bound of its own.

    The bound. Let T be the Bellman operator, a contraction with modulus β = γ max_(s,a) P(go on | s, a) <= γ,
    and q~ the backup of v in float64, w = max_a q~. With e the largest rounding error of that backup,

        |w - V*| <= |w - Tv| + |Tv - TV*| <= e + β |v - V*| <= e + β (|w - v| + |w - V*|),  therefore
        |w - V*| <= (β |w - v| + e) / (1 - β),

    and |q~ - Q*| <= e + β |v - V*| is at most the same number. Without e this is Puterman (1994), Theorem
    6.3.1. A sum of k products has a relative error of at most ku / (1 - ku), u = 2^-53 (Higham 2002, section
    3.1); a backup takes two of them (reward and next value, up to K terms, where merging equal successors
    adds up to K more) and two operations, so e = (2K + 4) 2u (max |r| + β max |v|). The factor 2 covers
    the higher orders and the rounding of the bound itself; underflow is left out. Q* is that of the numbers
    in `mdp`: that 1/3 is stored rounded is not counted.

    Args:
        mdp: the model.
        gamma: the discount per step, in [0, 1]; must be given.
        *misplaced: refused, with what to write.
        **unknown_names: refused, with what to write.
        method: auto (accelerated modified policy iteration), value-iteration, gauss-seidel, policy-iteration,
            modified-policy-iteration or linear-programming.
        tolerance: iterate until `bound` is at most this, or the residual is nothing but rounding.
        max_iterations: then stop, with the bound as it is.
        progress: called after each backup with the iteration and its bound.

    Raises:
        ConfigError: gamma, method, tolerance or max_iterations is out of range; at γ = 1, a value is infinite.
    """
    mdp = check_model(mdp)
    check_call(solve, "method", misplaced, unknown_names, ELSEWHERE, UNNAMED)
    gamma = check_gamma(gamma)
    method = one_of("method", method, METHODS)
    check_callable("progress", progress, "progress(iteration, bound)")
    tolerance, max_iterations = real("tolerance", tolerance, 0.0), integer("max_iterations", max_iterations)
    problem = make_problem(mdp, gamma)
    if gamma == 1:
        return _solve_undiscounted(mdp, problem, method, progress)
    v, iterations = _iterate(problem, method, tolerance, max_iterations, progress)
    q = action_values(problem, v)
    new_v = best(q)
    bound, _ = _prove(problem, v, float(np.abs(new_v - v).max()))
    policy = greedy_actions(q, bound, cancelled(problem, v, q))
    return Solution(new_v, q, policy, bound, iterations, float(mdp.start @ new_v), mdp)


def _solve_undiscounted(mdp: FiniteMDP, problem: Problem, method: MethodName, progress: Progress | None) -> Solution:
    from bellmax.solving.episodic import solve_episodic

    if method not in ("auto", "policy-iteration"):
        raise ConfigError(f"method {method!r} is for gamma < 1; gamma=1 is solved by policy-iteration")
    v, q, policy, bound, iterations = solve_episodic(mdp, problem)
    if progress is not None:
        progress(iterations, bound)
    return Solution(v, q, policy, bound, iterations, float(mdp.start @ v), mdp)


def _iterate(
    problem: Problem, method: MethodName, tolerance: float, max_iterations: int, progress: Progress | None
) -> tuple[FloatArray, int]:
    """The values [S] whose backup is within the tolerance, or the last ones, and how many backups it took."""
    advance = METHODS[method](problem)
    v = np.zeros(len(problem.reward))
    for iteration in range(1, max_iterations + 1):
        done = backup(problem, v)
        bound, rounding = _prove(problem, v, done.residual)
        if progress is not None:
            progress(iteration, bound)
        if bound <= tolerance or done.residual <= rounding or iteration == max_iterations:
            break
        following = advance(done, v)
        if following is None:
            break
        v = following
    return v, iteration


def _prove(problem: Problem, v: FloatArray, residual: float) -> tuple[float, float]:
    """`(bound, rounding error e)` of the backup of v [S], as in `solve`."""
    rounding, modulus = problem.rounding(v), problem.modulus
    return ((modulus * residual + rounding) / (1 - modulus) if modulus < 1 else np.inf), rounding
