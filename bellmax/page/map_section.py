"""NumPy. The map of what a run learned, with a slider over training where the run stored its policies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bellmax.contracts import BellmaxError
from bellmax.page.charts import spaced_indices
from bellmax.page.document import Html, Section, inner, tag
from bellmax.page.run_sections import headings
from bellmax.pictures.map_svg import map_svg
from bellmax.pictures.map_view import make_map
from bellmax.pictures.picture import Picture
from bellmax.training.policy import Policy
from bellmax.training.run import Run
from bellmax.training.run_picture import picture_of_policy

MOST_RECORDS = 24
MOST_BYTES = 700_000  # of the maps of one run


def map_section(runs: Mapping[str, Run]) -> Section:
    """Return the maps of each run whose states are on one."""
    parts = []
    for i, (name, run) in enumerate(runs.items()):
        pictures = pictures_of(run)
        if pictures:
            parts.append(inner([headings(runs, name), draw_maps(run, pictures, f"map-{i}")]))
    return Section("map", "What it learned, on the map", inner(parts) if parts else Html())


def pictures_of(run: Run) -> dict[int, Picture]:
    """Return the picture of the first seed's policy at some records, by step; {} if its states are not on a map."""
    policies = policies_of(run)
    found: dict[int, Picture] = {}
    source = run.find_source() if policies else None
    for step, policy in policies.items():
        try:
            picture = picture_of_policy(policy, what="value", title=f"after {step:,} {run.unit}", source=source)
        except BellmaxError:
            return {}
        if picture.map is None:
            return {}
        found[step] = picture
    return found


def policies_of(run: Run) -> dict[int, Policy]:
    """Return policies of the first seed by step: at records, if they were stored, and the final one."""
    if not run.policies.get("final") or not run.history.step:
        return {}
    found: dict[int, Policy] = {}
    if run.kept_policies.steps:
        wanted = {run.kept_policies.steps[i] for i in spaced_indices(len(run.kept_policies.steps), MOST_RECORDS)}
        found = {step: policy for step, policy in run.policies_over_time(run.seeds[0]) if step in wanted}
    return {**found, run.history.step[-1]: run.policy(run.seeds[0])}


def draw_maps(run: Run, pictures: Mapping[int, Picture], identifier: str) -> Html:
    """Return the maps at some records with one scale of colors, of which a slider shows one."""
    maps = draw_values(pictures)
    while len(maps) > 2 and sum(map(len, maps.values())) > MOST_BYTES:
        steps = list(maps)
        maps = {step: maps[step] for step in [*steps[:-1:2], steps[-1]]}
    steps = list(maps)
    last = len(steps) - 1
    shown = [tag("div", svg, hidden=i != last, data_record=i) for i, svg in enumerate(maps.values())]
    slider = tag(
        "label", f"After so many {run.unit} ",
        tag("input", type="range", min=0, max=last, value=last, step=1, data_steps=" ".join(map(str, steps))),
    )  # fmt: skip
    words = f"Values and greedy actions of seed {run.seeds[0]}"
    words += "." if last else " at the end; a run with keep_policies has a slider over training here."
    return tag(
        "figure", tag("figcaption", words), tag("div", slider, class_="controls") if last else None,
        tag("p", f"after {steps[-1]:,} {run.unit}", class_="readout", aria_live="polite") if last else None, *shown,
        id=identifier, class_="map", data_unit=run.unit,
    )  # fmt: skip


def draw_values(pictures: Mapping[int, Picture]) -> dict[int, Html]:
    """Return each map as SVG, all with the same colors for the same values."""
    values = np.concatenate([picture.numbers.values[picture.numbers.known] for picture in pictures.values()])
    known = values[np.isfinite(values)]
    limits = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    found = {}
    for step, picture in pictures.items():
        numbers = picture.numbers
        assert numbers.layout is not None  # noqa: S101 - a picture without a map is left out
        view = make_map(
            numbers.layout, numbers.values, of_actions=np.where(np.isfinite(numbers.q), numbers.q, np.nan),
            greedy=numbers.greedy, known=numbers.known, what="value", title=numbers.title,
            action_names=numbers.action_names, state_names=numbers.state_names, limits=limits,
        )  # fmt: skip
        found[step] = Html(map_svg(view, style=False))
    return found
