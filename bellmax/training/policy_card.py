"""NumPy. What a notebook shows of a table unasked: its values on the map of its environment, or as a curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bellmax.contracts import BellmaxError, FloatArray
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


def values_on_card(q: FloatArray, world: str, env_kwargs: Mapping[str, Any], trusted: bool) -> str:
    """Return the values of a table `q [S, A]` as HTML.

    A card is shown unasked, so it creates only environments of the gallery and Gymnasium's own tables.

    Args:
        q: the table.
        world: the name of its environment.
        env_kwargs: its arguments.
        trusted: these do not come from a file.
    """
    mdp = _plain_model(world, env_kwargs, trusted) if len(q) <= MOST_ON_CARD else None
    layout = None if mdp is None or (mdp.n_states, mdp.n_actions) != q.shape else find_layout(mdp)
    if mdp is None or layout is None:
        return state_values_svg(q.max(axis=-1), "greedy value of each state")
    q = np.where(mdp.allowed, q, -np.inf)
    names, known = action_names_of(mdp), reachable(mdp)
    numbers = StateNumbers(f"greedy values in {world}", q, tied(q), known, names, mdp.state_names, layout)
    return Picture(numbers, "value")._repr_html_()


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
