"""NumPy. Slices of the learned values: the largest value and the greedy action over two numbers of an observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bellmax import spaces
from bellmax.contracts import BellmaxError, Box, FloatArray, IntArray, Json
from bellmax.page.charts import BOTTOM, CONFIG, LEFT, TOP, vega_picture
from bellmax.page.document import Html, Section, inner, number_text, table, tag
from bellmax.page.run_sections import headings
from bellmax.page.value_sections import Outcome
from bellmax.training.policy import Policy

CELLS, LISTED_CELLS = 28, 7  # along each axis: of the picture, and of the table behind it
SIDE, KEY = 300, 96  # of the picture and the room for its key
NAMES = {
    "CartPole-v1": ("position (m)", "velocity (m/s)", "pole angle (rad)", "angular velocity (rad/s)"),
    "MountainCar-v0": ("position", "velocity"),
}
AXES = {"CartPole-v1": (2, 3)}  # which two numbers, where there are more
MOST_ACTIONS = 10


class Slice(NamedTuple):
    """Values over two numbers of an observation; all others are fixed.

    Attributes:
        names: of the two.
        across, up: [C] their values.
        q: [C, C, A] the action values: first index up, second across.
        fixed: the other numbers in words, "" if there are none.
    """

    names: tuple[str, str]
    across: FloatArray
    up: FloatArray
    q: FloatArray
    fixed: str

    @property
    def best(self) -> FloatArray:
        """[C, C] the largest value."""
        return np.asarray(self.q.max(axis=2))

    @property
    def action(self) -> IntArray:
        """[C, C] the greedy action."""
        return np.asarray(self.q.argmax(axis=2))


def surface_section(outcomes: Mapping[str, Outcome]) -> Section:
    """Return the slices of each run whose observations are two numbers, or of which the two to show are known."""
    runs = {name: outcome.run for name, outcome in outcomes.items()}
    parts: list[Html] = []
    for name, outcome in outcomes.items():
        found = slice_of(outcome)
        if found is not None:
            parts.append(inner([headings(runs, name), draw_slice(found, outcome.run.seeds[0])]))
    return Section("surface", "Slices of the values", inner(parts) if parts else Html())


def slice_of(outcome: Outcome) -> Slice | None:
    """Return the slice of the first seed's final policy, around what it saw in its episodes; None without one."""
    seen = [episode.states for episodes in outcome.played for episode in episodes or () if episode.states is not None]
    if not seen or not outcome.played[0]:
        return None
    policy = outcome.run.policies["final"][0]
    space, states = spaces.visible(policy.space), np.concatenate(seen)
    known = AXES.get(outcome.run.world) or ((0, 1) if states.shape[1] == 2 else None)
    real = isinstance(space, Box) and space.dtype == "float32" and len(space.shape) == 1
    if known is None or not real or policy.n_actions > MOST_ACTIONS:
        return None
    try:
        return slice_through(policy, states, known, NAMES.get(outcome.run.world))
    except BellmaxError:
        return None


def slice_through(policy: Policy, states: FloatArray, axes: tuple[int, int], names: tuple[str, ...] | None) -> Slice:
    """Return the values of a policy over two numbers, in the range of the `states` [n, k] that it saw.

    Raises:
        ConfigError: the policy has a memory cell, so that its values depend on earlier observations.
    """
    low, high = states.min(axis=0), states.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    x, y = (np.linspace(low[i] - 0.1 * span[i], high[i] + 0.1 * span[i], CELLS) for i in axes)
    middle = np.median(states, axis=0)
    obs = np.tile(middle, (CELLS, CELLS, 1))
    obs[..., axes[0]], obs[..., axes[1]] = x[None, :], y[:, None]
    q = policy.q_values(obs.reshape(-1, states.shape[1]).astype(np.float32)).reshape(CELLS, CELLS, -1)
    words = names or tuple(f"number {i}" for i in range(states.shape[1]))
    fixed = ", ".join(f"{words[i]} {middle[i]:.3g}" for i in range(states.shape[1]) if i not in axes)
    return Slice((words[axes[0]], words[axes[1]]), x, y, np.asarray(q, np.float64), fixed)


def draw_slice(found: Slice, seed: int) -> Html:
    """Return both pictures of a slice and a table of some of its values."""
    fixed = f" at {found.fixed}" if found.fixed else ""
    at = np.linspace(0, CELLS - 1, LISTED_CELLS).round().astype(int)
    head = [f"{found.names[1]} ↓, {found.names[0]} →", *(f"{found.across[j]:.3g}" for j in at)]
    rows = [
        [f"{found.up[i]:.3g}", *(f"{number_text(found.best[i, j], 4)} ({found.action[i, j]})" for j in at)] for i in at
    ]
    best = vega_picture(heat_map(found, found.best, "value", nominal=False), f"Largest value{fixed}")
    action = vega_picture(heat_map(found, found.action, "action", nominal=True), f"Greedy action{fixed}")
    return inner([
        tag("p", f"Final policy of seed {seed}{fixed}, over the range that its episodes saw."),
        tag(
            "div", tag("figure", tag("figcaption", tag("strong", "Largest value")), tag("div", best, class_="picture")),
            tag("figure", tag("figcaption", tag("strong", "Greedy action")), tag("div", action, class_="picture")),
            class_="charts",
        ),
        tag(
            "details", tag("summary", "Numbers"),
            table(head, rows, f"Largest value (greedy action){fixed}"),
        ),
    ])  # fmt: skip


def heat_map(found: Slice, values: FloatArray | IntArray, name: str, *, nominal: bool) -> dict[str, Json]:
    """Return numbers [C, C] in Vega-Lite's words, a rectangle for each."""
    dx, dy = found.across[1] - found.across[0], found.up[1] - found.up[0]
    rows: list[Json] = [
        {
            "x": float(found.across[j] - dx / 2), "x2": float(found.across[j] + dx / 2),
            "y": float(found.up[i] - dy / 2), "y2": float(found.up[i] + dy / 2), "value": values[i, j].item(),
        }
        for i in range(CELLS)
        for j in range(CELLS)
    ]  # fmt: skip

    def axis(field: str, title: str, ends: FloatArray, width: float) -> Json:
        domain: Json = [float(ends[0] - width / 2), float(ends[-1] + width / 2)]
        scale: Json = {"domain": domain, "nice": False, "zero": False}
        return {"field": field, "type": "quantitative", "title": title, "axis": {"tickCount": 5}, "scale": scale}

    colors: Json = {"scheme": "tableau10"} if nominal else {"scheme": "viridis"}
    color: Json = {
        "field": "value", "type": "nominal" if nominal else "quantitative", "title": name, "scale": colors,
        "legend": {"labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "labelFontSize": 12},
    }  # fmt: skip
    return {
        "width": SIDE, "height": SIDE, "autosize": "none", "config": CONFIG, "data": {"values": rows},
        "padding": {"left": LEFT, "right": KEY, "top": TOP, "bottom": BOTTOM},
        "mark": {"type": "rect", "strokeWidth": 0},
        "encoding": {
            "x": axis("x", found.names[0], found.across, dx), "x2": {"field": "x2"},
            "y": axis("y", found.names[1], found.up, dy), "y2": {"field": "y2"}, "color": color,
        },
    }  # fmt: skip
