"""Rich. What `bellmax solve` answers, for machines and in words, and what it says while it works."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmax.contracts import ConfigError, counted
from bellmax.mdp.model import FiniteMDP
from bellmax.report.text import describe_solution, describe_values
from bellmax.solving.methods import MethodName
from bellmax.solving.solve import Progress
from bellmax.stderr import console, is_terminal, say
from bellmax.training.exact import policy_return
from bellmax.training.progress import LINE_SECONDS, QUIET_SECONDS

if TYPE_CHECKING:
    from bellmax.rich_parts import Progress as Bar

Words = Callable[[], str]
Answer = tuple[dict[str, Any], dict[str, Any], Words]


def answer(
    mdp: FiniteMDP, world: str, *, gamma: float | None, method: MethodName, tolerance: float,
    horizon: int | None, epsilon: float | None, average: bool,
) -> Answer:  # fmt: skip
    """`(result, arrays, words)`: numbers for machines, their tables, and a function that returns the text.

    γ is 0.99 where it is not given, and 1 with a horizon.

    Raises:
        ConfigError: options that exclude each other, or as the solver that they choose.
    """
    given = [name for name, is_given in (("--horizon", horizon is not None), ("--epsilon", epsilon is not None),
                                         ("--average", average)) if is_given]  # fmt: skip
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other; give one of them")
    if average and gamma is not None:
        raise ConfigError("--average has no discount: leave out --gamma")
    if method != "auto" and (average or horizon is not None):
        raise ConfigError(f"--method is for discounted values and total rewards: leave it out with {given[0]}")
    facts = {"world": world, "states": mdp.n_states, "actions": mdp.n_actions}
    if average:
        return _average(mdp, facts)
    if horizon is not None:
        return _horizon(mdp, facts, horizon, 1.0 if gamma is None else gamma)
    return _best(mdp, facts, 0.99 if gamma is None else gamma, method, tolerance, epsilon)


def _best(
    mdp: FiniteMDP, facts: dict[str, Any], gamma: float, method: MethodName, tolerance: float, epsilon: float | None
) -> Answer:
    from bellmax.solving.soft import soften, solve_soft
    from bellmax.solving.solve import solve

    with watching(f"{facts['world']}, γ = {gamma}", tolerance) as progress:
        if epsilon is None:
            solution = solve(mdp, gamma, method=method, tolerance=tolerance, progress=progress)
        else:
            solution = solve_soft(mdp, gamma, epsilon, method=method, tolerance=tolerance, progress=progress)
    limit, policy = mdp.max_episode_steps, solution.policy
    played = policy if epsilon is None else soften(mdp, policy, epsilon)
    result = {
        **facts,
        "gamma": gamma,
        "method": method,
        "epsilon": epsilon,
        "start_value": solution.start_value,
        "bound": solution.bound,
        "iterations": solution.iterations,
        "max_episode_steps": limit,
        "return_within_limit": policy_return(mdp, played, gamma) if limit else None,
    }
    arrays = {"policy": policy, "v": solution.v, "q": solution.q}
    return result, arrays, lambda: describe_solution(mdp, solution, result)


def _horizon(mdp: FiniteMDP, facts: dict[str, Any], horizon: int, gamma: float) -> Answer:
    from bellmax.solving.horizon import solve_horizon

    v, policy, bound, start_value = solve_horizon(mdp, horizon, gamma)
    result = {**facts, "gamma": gamma, "horizon": horizon, "start_value": start_value, "bound": bound}
    first = policy[0] if horizon else np.zeros(mdp.n_states, np.int64)

    def words() -> str:
        return describe_values(
            mdp,
            f"{facts['world']}, γ = {gamma}, with {counted(horizon, 'step')} to go",
            {"v": v[0]},
            first,
            f"best expected return of {counted(horizon, 'step')} from the start {start_value:.7f}, within {bound:.1e}",
        )

    return result, {"policy": policy, "v": v}, words


def _average(mdp: FiniteMDP, facts: dict[str, Any]) -> Answer:
    from bellmax.solving.average import solve_average

    found = solve_average(mdp)
    result = {**facts, "start_gain": found.start_gain, "bound": found.bound, "iterations": found.iterations}

    def words() -> str:
        return describe_values(
            mdp,
            f"{facts['world']}, average reward; an episode that ends begins again",
            {"gain": found.gain, "bias": found.bias},
            found.policy,
            f"best reward per step from the start {found.start_gain:.7f}, within {found.bound:.1e}",
        )

    return result, {"policy": found.policy, "gain": found.gain, "bias": found.bias}, words


@contextmanager
def watching(title: str, tolerance: float) -> Iterator[Progress]:
    """A callback for `solve`: after two seconds a bar in a terminal, plain lines elsewhere, on standard error.

    Done is what the logarithm of the bound has done of its way to the tolerance.
    """
    begin = time.monotonic()
    shown, first, bar = begin + QUIET_SECONDS - LINE_SECONDS, math.nan, None

    def progress(iteration: int, bound: float) -> None:
        nonlocal shown, first, bar
        first = bound if math.isnan(first) and math.isfinite(bound) else first
        now = time.monotonic()
        if now - begin < QUIET_SECONDS:
            return
        done = fraction_done(first, bound, tolerance)
        if is_terminal():
            bar = bar or _bar(title)
            bar.update(bar.task_ids[0], completed=done, words=f"backup {iteration:,}, error at most {bound:.1e}")
        elif now - shown >= LINE_SECONDS:
            shown = now
            say(f"{title}: {done:4.0%}, backup {iteration:,}, error at most {bound:.1e}")

    try:
        yield progress
    finally:
        if bar is not None:
            bar.stop()


def fraction_done(first: float, bound: float, tolerance: float) -> float:
    """How far log `bound` has come from log `first` to log `tolerance`, in [0, 1]."""
    tolerance = max(tolerance, 1e-16)
    if not (math.isfinite(bound) and first > tolerance):
        return 0.0
    if bound <= tolerance:
        return 1.0
    return min(max(math.log(first / bound) / math.log(first / tolerance), 0.0), 1.0)


def _bar(title: str) -> Bar:
    from bellmax.rich_parts import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"))
    bar = Progress(*columns, console=console(), transient=True)
    bar.add_task(title, total=1.0, words="")
    bar.start()
    return bar
