"""NumPy. The map of what a run learned, the exact answer, and a slider over training if policies were stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from bellmax.contracts import BellmaxError, listed
from bellmax.page.charts import spaced_indices
from bellmax.page.document import Html, Section, inner, tag
from bellmax.page.exact_map import distance_in_words, exact_picture, exact_table
from bellmax.page.run_sections import headings
from bellmax.pictures.map_marks import draw_marks
from bellmax.pictures.map_svg import drawing_svg, map_svg
from bellmax.pictures.map_view import MapView, make_map
from bellmax.pictures.picture import Picture
from bellmax.training.policy import Policy
from bellmax.training.run import Run
from bellmax.training.run_picture import picture_of_policy

Limits: TypeAlias = tuple[float, float]
MOST_RECORDS = 24
MOST_BYTES = 700_000  # of the maps over training of all runs
MOST_IN_ALL = 800_000  # of bytes, with exact answers and tables


def map_section(runs: Mapping[str, Run]) -> Section:
    """Return the maps of each run whose states are on one; of many runs, as many as there is room for."""
    parts, size, left_out = list[Html](), 0, list[str]()
    for i, (name, run) in enumerate(runs.items()):
        pictures = pictures_of(run)
        figure = draw_maps(run, pictures, f"map-{i}", MOST_BYTES // len(runs)) if pictures else Html()
        if parts and figure and size + len(figure) > MOST_IN_ALL:
            left_out.append(name)
        elif figure:
            parts.append(inner([headings(runs, name), figure]))
            size += len(figure)
    if left_out:
        how = "has no room for them; `bellmax show` draws the map of one run"
        parts.append(tag("p", f"Not drawn: the maps of {listed(left_out)}. The page {how}.", class_="note"))
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


def draw_maps(run: Run, pictures: Mapping[int, Picture], identifier: str, most_bytes: int) -> Html:
    """Return the maps at some records with one scale of colors, of which a slider shows one; also the exact answer.

    Of more maps than `most_bytes`, every second one is left out, as often as needed; the first and the last stay.
    """
    last_picture = list(pictures.values())[-1]
    exact, why = exact_picture(run, last_picture)
    limits = scale_limits([*pictures.values(), *([exact] if exact else [])])
    maps = {step: Html(map_svg(view_of(picture, limits), style=False)) for step, picture in pictures.items()}
    while len(maps) > 2 and sum(map(len, maps.values())) > most_bytes:
        steps = list(maps)
        maps = {step: maps[step] for step in [*steps[:-1:2], steps[-1]]}
    last = len(maps) - 1
    shown, words = list[Html](), ""
    for i, (step, svg) in enumerate(maps.items()):
        words = f"after {step:,} {run.unit}" + (f"; {distance_in_words(pictures[step], exact)}" if exact else "")
        shown.append(tag("div", svg, hidden=i != last, data_record=i, data_words=words))
    choice, layers, note = exact_layers(last_picture, exact, limits) if exact else (None, None, why)
    slider = tag("input", type="range", min=0, max=last, value=last, step=1)
    controls = [*([choice] if choice else []), *([tag("label", f"After so many {run.unit} ", slider)] if last else [])]
    seed = f"Values and greedy actions of seed {run.seeds[0]}"
    about = "." if last else " at the end; a run with keep_policies has a slider over training here."
    return tag(
        "figure", tag("figcaption", f"{seed}{about} {note}".rstrip()),
        tag("div", controls, class_="controls") if controls else None,
        tag("p", words, class_="readout", aria_live="polite") if controls else None,
        tag("div", shown, layers, class_="layers", role="group", aria_label=f"Map: {seed}", tabindex=0),
        tag("details", tag("summary", "Numbers"), exact_table(last_picture, exact)),
        id=identifier, class_="map",
    )  # fmt: skip


def exact_layers(learned: Picture, exact: Picture, limits: Limits) -> tuple[Html, Html, str]:
    """Return the choice of what is shown, the exact answer as a map and as marks on any other, and a note on them."""
    marked = view_of(learned, limits)._replace(greedy=exact.numbers.greedy, title="Marks of the exact policy")
    marks = draw_marks(marked)
    options = [tag("option", "what was learned", value="learned")]
    layers = [tag("div", Html(map_svg(view_of(exact, limits), style=False)), data_layer="exact", hidden=True)]
    note = ""
    if marks is not None and marks.groups[0].patches:
        options.append(tag("option", "the exact policy on it", value="policy"))
        layers.append(tag("div", Html(drawing_svg(marks, style=False)), data_layer="policy", hidden=True))
        note = "The exact policy is a white triangle at each side to which one of its actions leads"
        aimless = exact.numbers.greedy[:, [direction is None for direction in marked.directions]].any()
        note += ", and a square in the corner for actions without a direction." if aimless else "."
    options.append(tag("option", "the exact answer", value="exact"))
    return tag("label", "Show ", tag("select", options)), inner(layers), note


def scale_limits(pictures: Sequence[Picture]) -> Limits:
    """Return the smallest and the largest value on some maps, for one scale of colors."""
    values = np.concatenate([picture.numbers.values[picture.numbers.known] for picture in pictures])
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def view_of(picture: Picture, limits: Limits) -> MapView:
    """Return the map of a picture with the colors of these limits."""
    numbers = picture.numbers
    assert numbers.layout is not None  # noqa: S101 - a picture without a map is left out
    return make_map(
        numbers.layout, numbers.values, of_actions=np.where(np.isfinite(numbers.q), numbers.q, np.nan),
        greedy=numbers.greedy, known=numbers.known, what="value", title=numbers.title,
        action_names=numbers.action_names, state_names=numbers.state_names, limits=limits,
    )  # fmt: skip
