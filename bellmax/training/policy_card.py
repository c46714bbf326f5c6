"""NumPy. What a notebook shows of a policy unasked: its values on the map, and of a table also as a curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmax import spaces
from bellmax.contracts import BellmaxError, Discrete
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

if TYPE_CHECKING:
    from bellmax.training.policy import Policy


def values_on_card(policy: Policy) -> str:
    """Return the values of a policy as HTML; nothing of a network whose environment has no map.

    A card is shown unasked, so it creates only environments of the gallery and Gymnasium's own tables.
    """
    if "low" in policy.arrays:
        return ""  # cells of real numbers
    table = policy.arrays["q"] if policy.config_is_tabular else None
    size = number_of_states(policy) if table is None else len(table)
    model = _plain_model(policy.world, policy.env_kwargs, not policy.from_file) if size <= MOST_ON_CARD else None
    mdp = model if model is not None and (model.n_states, model.n_actions) == (size, policy.n_actions) else None
    layout = None if mdp is None else find_layout(mdp)
    if mdp is None or layout is None:
        return "" if table is None else state_values_svg(table.max(axis=-1), "greedy value of each state")
    q = np.where(mdp.allowed, policy.table(), -np.inf)
    names, known = action_names_of(mdp), reachable(mdp)
    numbers = StateNumbers(f"greedy values in {policy.world}", q, tied(q), known, names, mdp.state_names, layout)
    return Picture(numbers, "value")._repr_html_()


def number_of_states(policy: Policy) -> float:
    """Return how many states a policy knows by their number; infinity if an observation is not an integer."""
    seen = spaces.visible(policy.space)
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
