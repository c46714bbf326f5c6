"""NumPy. Learned values against returns, slices of the values, and an episode that moves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, Json, counted
from bellmax.page.charts import Chart, draw_chart, make_line, spaced_indices
from bellmax.page.columns import axis_of
from bellmax.page.document import Child, Html, Section, data_block, inner, number_text, table, tag
from bellmax.page.greedy_episodes import EPISODES, Greedy, play_with_values
from bellmax.page.run_sections import headings
from bellmax.sources import Source
from bellmax.training.run import Run

PLAYED_SEEDS = 10
DRAWINGS = ("CartPole-v1", "CartPole-v0", "MountainCar-v0", "Acrobot-v1")  # that assets/episodes.js draws
KEPT_STATES = 1_000
EQUAL = 1e-9  # up to which a value and a return, which are sums in another order, are the same number
STORED_RECORDS, STORED_SECONDS = 8, 8.0  # of stored policies that are played, and after which no other one begins


class Outcome(NamedTuple):
    """The greedy episodes of one run.

    Attributes:
        run: it.
        played: those of the final policy of each of the first seeds, None for a seed that could not play.
        over_time: those of the first seed by step, at some records, if its policies were stored.
    """

    run: Run
    played: list[list[Greedy] | None]
    over_time: Mapping[int, list[Greedy]] = {}

    @property
    def first(self) -> Greedy | None:
        """The first episode of the first seed that played."""
        return next((episodes[0] for episodes in self.played if episodes), None)


def play_run(run: Run, source: Source | None) -> Outcome:
    """Play the final policies of a run in its environment, if there is one, and stored ones of its first seed."""
    policies = run.policies.get("final", [])[:PLAYED_SEEDS] if source is not None else []
    played: list[list[Greedy] | None] = []
    for policy in policies:
        if source is None or (played and played[-1] is None):
            break  # the next one would be as slow
        played.append(play_with_values(policy, source))
    return Outcome(run, played, play_stored(run, source) if source is not None and played and played[0] else {})


def play_stored(run: Run, source: Source) -> dict[int, list[Greedy]]:
    """Play policies of the first seed at some records, by step; {} if none were stored."""
    found: dict[int, list[Greedy]] = {}
    end = time.monotonic() + STORED_SECONDS
    for step in chosen_records(run):
        if time.monotonic() > end:
            break
        episodes = play_with_values(run.policy(run.seeds[0], at=step), source)
        if episodes:
            found[step] = episodes
    return found


def chosen_records(run: Run) -> list[int]:
    """Return the steps of at most `STORED_RECORDS` stored policies, from the first to the last."""
    steps = run.kept_policies.steps
    return [steps[i] for i in spaced_indices(len(steps), STORED_RECORDS)] if steps else []


def values_section(outcomes: Mapping[str, Outcome]) -> Section:
    """Return, for each run, the values predicted at the start beside the discounted returns that followed."""
    runs = {name: outcome.run for name, outcome in outcomes.items()}
    parts = []
    for i, (name, outcome) in enumerate(outcomes.items()):
        if outcome.first is not None:
            parts.append(inner([headings(runs, name), outcome_table(outcome, f"values-{i}")]))
    return Section("values", "Values against returns", inner(parts) if parts else Html())


def at_start(episodes: Sequence[Greedy]) -> tuple[FloatArray, FloatArray]:
    """Return what was predicted at the start of episodes, and what they got, each [episodes]."""
    return np.array([each.predicted[0] for each in episodes]), np.array([each.returns[0] for each in episodes])


def outcome_table(outcome: Outcome, identifier: str) -> Html:
    """Return a table over seeds, and a chart of the first episode of the first seed."""
    rows: list[Sequence[Child]] = []
    for seed, episodes in zip(outcome.run.seeds, outcome.played, strict=False):
        if not episodes:
            continue
        predicted, got = at_start(episodes)
        apart = np.where(np.isclose(predicted, got, rtol=EQUAL, atol=EQUAL), 0.0, predicted - got)
        alike = np.allclose(apart, apart[0], rtol=EQUAL, atol=EQUAL)
        error = (0.0 if alike else apart.std(ddof=1) / np.sqrt(got.size)) if got.size > 1 else np.nan
        figures = (predicted.mean(), got.mean(), apart.mean(), error)
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
        tag("div", draw_chart(chart), class_="hero"), over_training(outcome, f"{identifier}-over-training"),
    ])  # fmt: skip


def over_training(outcome: Outcome, identifier: str) -> Html:
    """Return a chart of value and return at the start by records, or in words why there is none."""
    run, episodes = outcome.run, outcome.over_time
    wanted = len(chosen_records(run))
    if not wanted:
        return tag("p", "A run with keep_policies shows the two over training as well.", class_="note")
    if not episodes:
        return tag("p", "Over training, the episodes of the stored policies take too long to play.", class_="note")
    steps = np.array(list(episodes), np.float64)
    means = np.array([[column.mean() for column in at_start(played)] for played in episodes.values()])
    lines = (
        make_line("predicted at the start", steps, means[:, :1].T, ["predicted"], 0),
        make_line("got: discounted return", steps, means[:, 1:].T, ["got"], 1),
    )
    note = f"Means of {EPISODES} greedy episodes of seed {run.seeds[0]} at {counted(len(steps), 'record')}."
    note += f" Left out, as episodes take too long: {wanted - len(steps)}." if len(steps) < wanted else ""
    chart = Chart(identifier, "Value and return over training", note, lines, axis_of(run))
    return tag("div", draw_chart(chart), class_="hero")


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
