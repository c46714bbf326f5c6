"""NumPy. Learned values against returns, slices of the values, and an episode that moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bellmax.contracts import Json
from bellmax.page.charts import Chart, draw_chart, make_line
from bellmax.page.document import Child, Html, Section, data_block, inner, number_text, table, tag
from bellmax.page.greedy_episodes import Greedy, play_with_values
from bellmax.page.run_sections import headings
from bellmax.sources import Source
from bellmax.training.run import Run

PLAYED_SEEDS = 10
DRAWINGS = ("CartPole-v1", "CartPole-v0", "MountainCar-v0", "Acrobot-v1")  # that assets/episodes.js draws
KEPT_STATES = 1_000


class Outcome(NamedTuple):
    """The greedy episodes of one run: one list for each of its first seeds, None for a seed that could not play."""

    run: Run
    played: list[list[Greedy] | None]

    @property
    def first(self) -> Greedy | None:
        """The first episode of the first seed that played."""
        return next((episodes[0] for episodes in self.played if episodes), None)


def play_run(run: Run, source: Source | None) -> Outcome:
    """Play the final policies of a run in its environment, if there is one."""
    policies = run.policies.get("final", [])[:PLAYED_SEEDS] if source is not None else []
    played: list[list[Greedy] | None] = []
    for policy in policies:
        if source is None or (played and played[-1] is None):
            break  # the next one would be as slow
        played.append(play_with_values(policy, source))
    return Outcome(run, played)


def values_section(outcomes: Mapping[str, Outcome]) -> Section:
    """Return, for each run, the values predicted at the start beside the discounted returns that followed."""
    runs = {name: outcome.run for name, outcome in outcomes.items()}
    parts = []
    for i, (name, outcome) in enumerate(outcomes.items()):
        if outcome.first is not None:
            parts.append(inner([headings(runs, name), outcome_table(outcome, f"values-{i}")]))
    return Section("values", "Values against returns", inner(parts) if parts else Html())


def outcome_table(outcome: Outcome, identifier: str) -> Html:
    """Return a table over seeds, and a chart of the first episode of the first seed."""
    rows: list[Sequence[Child]] = []
    for seed, episodes in zip(outcome.run.seeds, outcome.played, strict=False):
        if not episodes:
            continue
        predicted = np.array([episode.predicted[0] for episode in episodes])
        got = np.array([episode.returns[0] for episode in episodes])
        error = (predicted - got).std(ddof=1) / np.sqrt(got.size) if got.size > 1 else np.nan
        figures = (predicted.mean(), got.mean(), (predicted - got).mean(), error)
        cut = sum(episode.cut for episode in episodes)
        rows.append([f"seed {seed}", *(number_text(float(x), 5) for x in figures), f"{cut} of {got.size}"])
    head = ["", "predicted", "got", "predicted − got", "standard error", "cut by a time limit"]
    first = outcome.first
    assert first is not None  # noqa: S101 - the caller has looked
    steps = np.arange(first.predicted.size)
    lines = (
        make_line("predicted: max Q(s, a)", steps, first.predicted[None], ["predicted"], 0),
        make_line("got: discounted return from here", steps, first.returns[None], ["got"], 1),
    )
    note = "The first episode of the first seed. Where predicted is above got, the values are too high."
    chart = Chart(identifier, "Value and return at each step", note, lines, "step of the episode")
    words = (
        "The largest action value at the start of greedy episodes is what the agent expects; the discounted return is "
        "what it gets, in the rewards that it learns from. The difference is the overestimation. Where a time limit "
        "cuts an episode, its return ends with the value predicted for the last observation."
    )
    return inner([
        tag("p", words), table(head, rows, "Start of the episodes: value and discounted return, means"),
        tag("div", draw_chart(chart), class_="hero"),
    ])  # fmt: skip


def episode_section(outcomes: Mapping[str, Outcome]) -> Section:
    """Return an episode of each run whose environment can be drawn from its observations."""
    parts: list[Html] = []
    runs = {name: outcome.run for name, outcome in outcomes.items()}
    for i, (name, outcome) in enumerate(outcomes.items()):
        first = outcome.first
        if first is not None and first.states is not None and outcome.run.world in DRAWINGS:
            parts.append(inner([headings(runs, name), episode_of(outcome, first, i)]))
    return Section("episode", "An episode", inner(parts) if parts else Html())


def episode_of(outcome: Outcome, episode: Greedy, i: int) -> Html:
    """Return the picture of an episode with its slider, for assets/episodes.js."""
    assert episode.states is not None  # noqa: S101 - the caller has looked
    kept = min(len(episode.predicted), KEPT_STATES)
    data: Json = {
        "world": outcome.run.world, "raw": episode.raw,
        "states": [[float(f"{x:.5g}") for x in state] for state in episode.states[: kept + 1].tolist()],
        "actions": episode.actions[:kept].tolist(),
        "predicted": [float(f"{x:.5g}") for x in episode.predicted[:kept].tolist()],
    }  # fmt: skip
    slider = tag(
        "label", "Step ", tag("input", type="range", min=0, max=kept, value=0, step=1, class_="frame"),
    )  # fmt: skip
    seed = outcome.run.seeds[next(k for k, played in enumerate(outcome.played) if played)]
    caption = f"Greedy policy of seed {seed}: {len(episode.predicted):,} steps, return {number_text(episode.raw)}."
    return tag(
        "figure", tag("figcaption", caption), tag("div", class_="canvas"),
        tag("div", tag("button", "Play", type="button", aria_pressed="false"), slider, class_="controls"),
        tag("p", class_="readout", aria_live="off"), data_block(f"episode-{i}-data", data),
        id=f"episode-{i}", class_="episode",
    )  # fmt: skip
