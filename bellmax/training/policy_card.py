"""NumPy. What a notebook shows of a policy unasked: its values on the map, and of a table also as a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.contracts import BellmaxError, Discrete, FloatArray, Space
from bellmax.files.saved_environments import find_saved_world
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.layout import find_layout
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import reachable
from bellmax.pictures.curve_svg import state_values_svg
from bellmax.pictures.picture import Picture
from bellmax.pictures.state_numbers import StateNumbers, tied
from bellmax.solving.solution_picture import action_names_of
from bellmax.solving.solve import MOST_ON_CARD


def values_on_card(
    world: str, env_kwargs: Mapping[str, Any], space: Space, q: FloatArray | None, values: Callable[[], FloatArray],
    n_actions: int, *, trusted: bool,
) -> str:  # fmt: skip
    """Return the values of a policy as HTML; nothing of a network whose environment has no map.

    A card is shown unasked, so it creates only environments of the gallery and Gymnasium's own tables.

    Args:
        world: the name of the environment.
        env_kwargs: its arguments.
        space: what the policy observes.
        q: the table [S, A] of a table, None of a network.
        values: returns the action values [S, A] of the states of a model.
        n_actions: of the policy.
        trusted: whether the name may be that of a module.
    """
    size = number_of_states(space) if q is None else len(q)
    model = _plain_model(world, env_kwargs, trusted) if size <= MOST_ON_CARD else None
    mdp = model if model is not None and (model.n_states, model.n_actions) == (size, n_actions) else None
    layout = None if mdp is None else find_layout(mdp)
    if mdp is None or layout is None:
        return "" if q is None else state_values_svg(q.max(axis=-1), "greedy value of each state")
    allowed = np.where(mdp.allowed, values(), -np.inf)
    names, known = action_names_of(mdp), reachable(mdp)
    numbers = StateNumbers(f"greedy values in {world}", allowed, tied(allowed), known, names, mdp.state_names, layout)
    return Picture(numbers, "value")._repr_html_()


def number_of_states(space: Space) -> float:
    """Return how many states a policy knows by their number; infinity if an observation is not an integer."""
    seen = spaces.visible(space)
    return seen.n if isinstance(seen, Discrete) else np.inf


def _plain_model(world: str, env_kwargs: Mapping[str, Any], trusted: bool) -> FiniteMDP | None:
    """The transition table of an environment that only computes; None of any other."""
    if world not in GALLERY:
        import gymnasium as gym

        found = gym.registry.get(world)
        if found is None or not str(found.entry_point).startswith("gymnasium.envs.toy_text"):
            return None
    try:
        return find_saved_world(None, None, world, env_kwargs, trusted=trusted).mdp
    except BellmaxError:
        return None
