"""NumPy. The picture of what a run learned: on a map, if the states of its environment are on one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.arguments import one_of
from bellmax.catalog import is_tabular
from bellmax.contracts import BellmaxError, Box, ConfigError, Discrete, FloatArray, Leaf
from bellmax.files.saved_environments import find_saved_world
from bellmax.mdp.layout import Layout, find_layout, grid_of
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import reachable
from bellmax.pictures.picture import Picture
from bellmax.pictures.state_numbers import WHAT, StateNumbers, What, tied
from bellmax.solving.solution_picture import action_names_of
from bellmax.solving.solve import Progress, solve
from bellmax.sources import Source
from bellmax.training.policy import Policy

MOST_NUMBERS = 10**7  # action values in a table that is shown


def picture_of_policy(
    policy: Policy,
    world: object = None,
    env_kwargs: Mapping[str, Any] | None = None,
    what: What = "value",
    *,
    title: str = "",
    everything: bool = False,
    source: Source | None = None,
    progress: Progress | None = None,
) -> Picture:
    """The picture of the action values of a policy.

    Args:
        policy: of any agent whose observations are integers, or the cells of a table.
        world: its environment, if it was an object; by default it is created again, for its map.
        env_kwargs: its arguments; they replace those of training one by one.
        what: the kind of numbers; "error" is measured from the exact answer for the agent's own γ.
        title: over the picture.
        everything: show all states, also where they do not fit.
        source: the environment itself, instead of `world`.
        progress: called with (iteration, bound) while the exact answer is computed.

    Raises:
        ConfigError: observations are real numbers, so that there are no states to list; or the policy or its
            environment does not have what is asked for.
    """
    what = one_of("what", what, WHAT)
    q, names, layout = _values(policy)
    source, problem = _source(policy, world, env_kwargs) if source is None else (source, "")
    mdp = _model(source, q)
    visits = policy.arrays.get("visits")
    visits = None if visits is None or visits.shape != q.shape else np.asarray(visits, np.float64)
    if mdp is not None:
        q = np.where(mdp.allowed, q, -np.inf)
        names, layout = mdp.state_names, find_layout(mdp)
    known = np.ones(len(q), np.bool_)
    if visits is not None and visits.any():
        known = np.asarray(visits.any(axis=1))
    missing = _missing(policy, source, mdp, problem)
    optimal = _optimal(mdp, policy.config.gamma, progress, missing) if what == "error" and mdp is not None else None
    title = title or f"{policy.config.name} on {policy.world}"
    if getattr(policy.config, "recurrent", "none") != "none":
        title += "; at the start of an episode"
    if mdp is None and layout is not None:
        title += "; rows are the first number of an observation, columns the second"
    numbers = StateNumbers(
        title,
        q,
        tied(q),
        known if mdp is None else reachable(mdp),
        tuple(map(str, range(policy.n_actions))) if mdp is None else action_names_of(mdp),
        names,
        layout,
        visits,
        optimal,
        missing,
    )
    return Picture(numbers, what, everything=everything)


def _source(policy: Policy, world: object, env_kwargs: Mapping[str, Any] | None) -> tuple[Source | None, str]:
    """The environment of a policy, and why there is none. What the caller asks for must be there."""
    try:
        source = find_saved_world(world, env_kwargs, policy.world, policy.env_kwargs, trusted=not policy.from_file)
    except BellmaxError as error:
        if world is not None or env_kwargs:
            raise
        return None, str(error)
    if not spaces.fits(policy.space, source.space) or source.n_actions != policy.n_actions:
        raise ConfigError(
            f"the policy is for {policy.space} with {policy.n_actions} actions; {source.name} has {source.space} with "
            f"{source.n_actions}"
        )
    return source, ""


def _values(policy: Policy) -> tuple[FloatArray, tuple[object, ...], Layout | None]:
    """Action values [S, A] of every observation, what these are called, and the map of two-dimensional cells."""
    size = sum(_log_count(leaf) for leaf in spaces.leaves_of(spaces.visible(policy.space)))
    if size > math.log(MOST_NUMBERS / policy.n_actions):
        if is_tabular(policy.config) and "low" in policy.arrays:
            return _cells(policy)
        many = (
            f"there are about 10^{size / math.log(10):.0f} observations"
            if size < math.inf
            else "they have real numbers"
        )
        raise ConfigError(
            f"the states of {policy.world} cannot be listed, for {many}: {spaces.in_words(policy.space)}; "
            "policy.q_values(obs) returns the values of an observation"
        )
    q = np.asarray(policy.table(), np.float64)
    seen = spaces.visible(policy.space)
    return q, () if isinstance(seen, Discrete) else _names(policy.states()), None


def _log_count(leaf: Leaf) -> float:
    """The logarithm of how many values a leaf has; infinite for real numbers."""
    if not isinstance(leaf, Box):
        return float(np.log(spaces.limits_of(leaf)).sum())
    if leaf.dtype == "bool":
        return math.prod(leaf.shape) * math.log(2)
    ends = spaces.bounds_of(leaf)
    return math.inf if ends is None else float(np.log(ends[1] - ends[0] + 1.0).sum())


def _names(batch: object) -> tuple[object, ...]:
    """The observations of a batch, each as a tuple of its numbers."""
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    if isinstance(parts, np.ndarray):
        return tuple(tuple(row) if isinstance(row, list) else row for row in parts.tolist())
    assert isinstance(parts, list | tuple)  # noqa: S101 - as `Policy.states` returns them
    return tuple(zip(*(_names(part) for part in parts), strict=True))


def _cells(policy: Policy) -> tuple[FloatArray, tuple[object, ...], Layout | None]:
    """The values of the cells that real numbers are cut into, with the ranges of each; two dimensions are a map."""
    from bellmax.tabular.cells import make_coder

    config, arrays = policy.config, policy.arrays
    assert is_tabular(config)  # noqa: S101 - only tables have cells
    if config.tilings > 1:
        raise ConfigError(
            f"a value of {policy.world} is a sum over {config.tilings} tilings, so that there is no list of states to "
            "show; policy.q_values(obs) returns the values of an observation, and tilings=1 learns a table of cells"
        )
    coder = make_coder(config, policy.space, arrays["low"], arrays["high"], policy.n_actions)
    width = coder.width.tolist()
    ends = [np.linspace(low, high, n + 1) for low, high, n in zip(coder.low, coder.high, width, strict=True)]
    places = np.stack(np.unravel_index(np.arange(math.prod(width)), width), axis=1).tolist()
    names = tuple(
        " x ".join(f"[{ends[d][i]:.4g}, {ends[d][i + 1]:.4g}]" for d, i in enumerate(place)) for place in places
    )
    layout = None
    if len(width) == 2:
        layout = grid_of(*width, arrows=(None,) * policy.n_actions)
        layout = layout._replace(panel=np.zeros(len(places), np.int64))
    return np.asarray(arrays["q"], np.float64), names, layout


def _model(source: Source | None, q: FloatArray) -> FiniteMDP | None:
    """The transition table of an environment, if it is of the states and actions of `q [S, A]`."""
    mdp = None if source is None else source.mdp
    return mdp if mdp is not None and (mdp.n_states, mdp.n_actions) == q.shape else None


def _missing(policy: Policy, source: Source | None, mdp: FiniteMDP | None, problem: str) -> dict[str, str]:
    why = problem or "; ".join(source.notes if source is not None else ()) or "it has no transition table"
    missing = {} if is_tabular(policy.config) else {"visits": "a network does not count visits; a table does"}
    return missing if mdp is not None else {**missing, "error": f"{policy.world} has no exact answer: {why}"}


def _optimal(mdp: FiniteMDP, gamma: float, progress: Progress | None, missing: dict[str, str]) -> FloatArray | None:
    """The exact action values [S, A]; None, and why in `missing`, where there are none."""
    try:
        return solve(mdp, gamma, progress=progress).q
    except ConfigError as error:
        missing["error"] = f"there is no exact answer for gamma={gamma}: {error}"
        return None
