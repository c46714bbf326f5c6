"""NumPy. What was drawn from the replay buffer in recorded steps: ages, priorities, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bellmax.contracts import FloatArray, Json, counted
from bellmax.page.charts import CONFIG, SHORT, vega_picture
from bellmax.page.document import Html, Section, inner, number_text, table, tag
from bellmax.page.explainer import steps_of, window_title

KINDS = {
    "age": "age (steps since it was stored)", "priority": "priority", "probability": "probability of being drawn",
    "weight": "weight of its loss",
}  # fmt: skip
BINS = 12


def replay_section(windows: Sequence[Mapping[str, Json]]) -> Section:
    """Return the distribution of ages, priorities and weights in the batches of each recorded window."""
    parts = []
    for window in windows:
        found = {kind: numbers_in(window, kind) for kind in KINDS}
        known = {kind: values for kind, values in found.items() if values.size > 1 and np.ptp(values) > 0}
        if known:
            parts.append(inner([tag("h3", window_title(window)), draw_kinds(known, drawn_in(window))]))
    return Section("replay", "What was drawn from the replay buffer", inner(parts) if parts else Html())


def numbers_in(window: Mapping[str, Json], kind: str) -> FloatArray:
    """Return the recorded numbers of one kind in all batches of a window."""
    found = [value for values in values_in(window) for value in flat_numbers(values.get(kind))]
    return np.array(found, np.float64)


def drawn_in(window: Mapping[str, Json]) -> int:
    """Return how many transitions were drawn in a window, also those whose numbers were not recorded."""
    sizes = [values.get("batch_size", len(list(flat_numbers(values["index"])))) for values in values_in(window)]
    return sum(size for size in sizes if isinstance(size, int))


def values_in(window: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """Yield the values of every phase of a window in which a batch was drawn, of the whole batch where recorded."""
    for step in steps_of(window):
        phases = step["phases"]
        for phase in phases if isinstance(phases, Sequence) else ():
            values = phase["values"] if isinstance(phase, Mapping) else None
            if isinstance(values, Mapping) and "index" in values:
                whole = values.get("whole_batch")
                yield {**values, **whole} if isinstance(whole, Mapping) else values


def flat_numbers(value: Json) -> Iterator[float]:
    """Yield the numbers in a list of numbers, or of lists."""
    if isinstance(value, bool) or value is None or isinstance(value, str | Mapping):
        return
    if isinstance(value, int | float):
        yield float(value)
        return
    for each in value:
        yield from flat_numbers(each)


def draw_kinds(known: Mapping[str, FloatArray], drawn: int) -> Html:
    """Return a histogram of each kind, and their quartiles in a table; `drawn` is the number of all transitions."""
    rows = [
        [
            KINDS[kind],
            *(number_text(float(x), 5) for x in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])),
            str(values.size),
        ]
        for kind, values in known.items()
    ]
    head = ["", "lowest", "quarter", "median", "three quarters", "highest", "numbers"]
    figures = [
        tag(
            "figure", tag("figcaption", tag("strong", KINDS[kind])),
            tag("div", vega_picture(histogram(values, KINDS[kind]), f"Histogram: {KINDS[kind]}"), class_="picture"),
        )
        for kind, values in known.items()
    ]  # fmt: skip
    recorded = max(values.size for values in known.values())
    of = f"Of {recorded:,} of the" if recorded < drawn else "Of the"
    caption = f"{of} {counted(drawn, 'transition')} drawn in these steps"
    return inner([tag("div", figures, class_="charts"), table(head, rows, caption)])


def histogram(values: FloatArray, title: str) -> dict[str, Json]:
    """Return a histogram in Vega-Lite's words."""
    counts, edges = np.histogram(values, BINS)
    rows: list[Json] = [
        {"from": float(edges[i]), "to": float(edges[i + 1]), "n": int(counts[i])} for i in range(BINS)
    ]  # fmt: skip
    scale: Json = {"domain": [float(edges[0]), float(edges[-1])], "nice": False, "zero": False}
    return {
        "width": 400, "height": 120, "autosize": "none", "config": CONFIG, "data": {"values": rows},
        "padding": {"left": 58, "right": 14, "top": 10, "bottom": 44},
        "mark": {"type": "bar", "color": "var(--color-1)"},
        "encoding": {
            "x": {
                "field": "from", "type": "quantitative", "title": title, "bin": {"binned": True},
                "axis": SHORT, "scale": scale,
            },
            "x2": {"field": "to"}, "y": {"field": "n", "type": "quantitative", "title": None, "axis": {"tickCount": 3}},
        },
    }  # fmt: skip
