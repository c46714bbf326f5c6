"""NumPy. `compare`: the scores of several runs of one environment, with an interval of each difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import combinations

import numpy as np

from bellmax.arguments import real
from bellmax.contracts import LONGEST_WORD, ConfigError, FloatArray, counted, listed
from bellmax.difference_statistics import difference_between, improvement
from bellmax.pictures.map_view import shortened
from bellmax.report.comparison import Comparison, Pair, RunScores
from bellmax.report.named_runs import Runs, check_one_environment, common_column, named_runs
from bellmax.summary_statistics import MIN_SEEDS, iqm, summarize
from bellmax.training.facts import is_discounted
from bellmax.training.run import Run

LONGEST_TEXT = 200  # letters of a setting
NEAR_ONE = 0.999999  # the largest confidence, and the smallest is as far from 0


def compare(runs: Runs, metric: str | None = None, confidence: float = 0.95) -> Comparison:
    """Compare the scores of runs in one environment: each by itself, each two, and what differs in their settings.

    Args:
        runs: a list of runs or of their folders, or a dictionary {name: run or folder}; at least two.
        metric: a column of the history, such as "exact/regret", whose last known values are compared; by default the
            scores, of the final policies.
        confidence: nominal coverage of all intervals.

    Returns:
        A Comparison. Its intervals are NaN where a run has fewer than 5 seeds.

    Raises:
        ConfigError: fewer than two runs, the same run twice, different environments, a run that has not ended and
            therefore has no scores, or a column that a run does not have; a folder has no run.
    """
    found = named_runs(runs)
    confidence = real("confidence", confidence, 1 - NEAR_ONE, NEAR_ONE)
    _check_several(found)
    check_one_environment(found)
    scores = {name: _scores(run, name, metric, found) for name, run in found.items()}
    rows = tuple(
        RunScores(name, run.config.name, run.end, run.unit, summarize(scores[name], confidence))
        for name, run in found.items()
    )
    pairs = tuple(_pair(a, b, scores[a], scores[b], confidence) for a, b in combinations(found, 2))
    words = f"{metric} at the last record" if metric is not None else "scores of the final policies"
    world = next(iter(found.values())).world
    remarks = tuple(_remarks(found, scores, metric, len(pairs)))
    return Comparison(world, words, confidence, rows, pairs, differing_settings(found), remarks, found)


def _check_several(runs: Mapping[str, Run]) -> None:
    if len(runs) < 2:
        raise ConfigError(f"`runs` must be at least two runs to compare; got {counted(len(runs), 'run')}")
    for a, b in combinations(runs, 2):
        one, other = runs[a], runs[b]
        same = one.folder is not None and other.folder is not None and one.folder.resolve() == other.folder.resolve()
        if one is other or same:
            raise ConfigError(f"`runs` has the same run twice: {a[:LONGEST_WORD]!r} and {b[:LONGEST_WORD]!r}")


def _scores(run: Run, name: str, metric: str | None, runs: Mapping[str, Run]) -> FloatArray:
    """One number per seed."""
    if metric is not None:
        return run.history.last(common_column(runs, metric, (), "scores", "metric"))
    try:
        return run.summary().scores
    except ConfigError as error:
        raise ConfigError(f"{name[:LONGEST_WORD]}: {error}, or compare a column of the history by `metric`") from error


def _pair(earlier: str, later: str, low: FloatArray, high: FloatArray, confidence: float) -> Pair:
    return Pair(
        earlier, later,
        difference_between(high, low, iqm, confidence), difference_between(high, low, np.mean, confidence),
        improvement(high, low, confidence), min(low.size, high.size),
    )  # fmt: skip


def differing_settings(runs: Mapping[str, Run]) -> dict[str, tuple[str, ...]]:
    """Return the settings that all runs have and that differ, by name, with the text of each run's value.

    An argument of the environment is compared by itself; its text is "default" in a run that was not given it.
    """
    arguments = {f"env {name}": "default" for run in runs.values() for name in run.env_kwargs}
    texts = [arguments | {name: repr(value) for name, value in _settings_of(run)} for run in runs.values()]
    shared = [name for name in texts[0] if all(name in each for each in texts)]
    differing = [name for name in shared if len({each[name] for each in texts}) > 1]
    return {name: tuple(shortened(each[name], LONGEST_TEXT) for each in texts) for name in differing}


def _settings_of(run: Run) -> Iterator[tuple[str, object]]:
    """The arguments of a run by name."""
    yield from (("agent", run.config.name), ("steps", run.steps), ("loop", run.loop))
    yield from ((f"env {name}", value) for name, value in run.env_kwargs.items())
    n = len(run.seeds)
    yield "seeds", n if n > 10 and run.seeds == list(range(n)) else run.seeds
    yield from (asdict(run.options) | asdict(run.config)).items()


def _remarks(runs: Mapping[str, Run], scores: Mapping[str, FloatArray], metric: str | None, n_pairs: int) -> list[str]:
    """What to know before trusting the numbers, one sentence each."""
    found = []
    if few := [name for name in runs if scores[name].size < MIN_SEEDS]:
        have = listed(f"{name} has {counted(scores[name].size, 'seed')}" for name in few)
        found.append(f"an interval needs {MIN_SEEDS} seeds: {have}")
    if len({(run.end, run.unit) for run in runs.values()}) > 1:
        lengths = listed(f"{name} {run.end:,} {run.unit}" for name, run in runs.items())
        found.append(f"the runs differ in length: {lengths}")
    found += [f"{name} was {run.early}" for name, run in runs.items() if run.stopped]
    for name, run in runs.items():
        if not run.scores and len(run.history):
            at = f"{run.history.step[-1]:,} of {run.steps:,} {run.unit}"
            found.append(f"{name} has not ended: its last record is at {at}")
    if len({repr(run.env_kwargs) for run in runs.values()}) > 1:
        found.append("the environment has different arguments: rewards may have different scales")
    found += _kinds_of_scores(runs) if metric is None else []
    if broken := [name for name in runs if not np.isfinite(scores[name]).all()]:
        found.append(f"some seeds have a score that is missing or infinite: {listed(broken)}")
    if n_pairs > 1:
        found.append(
            f"each interval is of one pair by itself: with {n_pairs:,} pairs, some may show a difference by chance"
        )
    return found


def _kinds_of_scores(runs: Mapping[str, Run]) -> list[str]:
    """Whether some scores are exact and others sampled, or discounted by a different γ."""
    exact = {name for name, run in runs.items() if run.has_exact_scores}
    if 0 < len(exact) < len(runs):
        sampled = listed(name for name in runs if name not in exact)
        return [f"the scores of {listed(name for name in runs if name in exact)} are exact expected returns, "
                f"those of {sampled} are means of episodes"]  # fmt: skip
    discounted = [run for name, run in runs.items() if name in exact and is_discounted(run.history, run.config.gamma)]
    if len({run.config.gamma for run in discounted}) > 1:
        return ["the scores are values discounted with different gamma, which have different scales"]
    return []
