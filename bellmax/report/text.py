"""Rich. Tables and curves in the terminal."""

from __future__ import annotations

import io
import shlex
from typing import Any

import numpy as np

from bellmax.contracts import FloatArray, IntArray, counted
from bellmax.files.provenance import inexact
from bellmax.files.saved_environments import options_to_repeat
from bellmax.mdp.model import FiniteMDP
from bellmax.printing import plain
from bellmax.rich_parts import Console, RenderableType, Table, Text
from bellmax.solving.solve import Solution
from bellmax.summary_statistics import MIN_SEEDS, Summary, with_interval
from bellmax.training.facts import is_discounted
from bellmax.training.history import SCORES, first_common
from bellmax.training.play import Evaluation
from bellmax.training.run import Run, StepsToOptimal

SHOWN_SEEDS = 20  # rows of a table; a run may have thousands


class Harmless(Console):
    """A console that shows every string as it is, also in tables: without markup, control characters written out."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Return a string as Rich's text."""
        return super().render_str(plain(text), **{**how, "markup": False, "emoji": False})


def render(*parts: RenderableType) -> str:
    """Rich objects and strings as text: colored in a terminal, plain elsewhere."""
    console = Harmless()
    if not console.is_terminal:
        console = Harmless(width=1000)  # files and pipes have room: no number is cut off
    with console.capture() as capture:
        for part in parts:
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    return capture.get().rstrip("\n")


def describe_summary(summary: Summary) -> str:
    """IQM and mean with their 95 % intervals, and the range; of few seeds, how many an interval needs."""
    few = f"; intervals need {MIN_SEEDS} seeds" if summary.n < MIN_SEEDS else ""
    return (
        f"IQM {with_interval(summary.iqm, summary.iqm_low, summary.iqm_high)}, "
        f"mean {with_interval(summary.mean, summary.mean_low, summary.mean_high)}, "
        f"range {summary.minimum:.4g} to {summary.maximum:.4g} over {counted(summary.n, 'seed')}{few}"
    )


def describe_run(run: Run) -> str:
    """What came out, where it is, and what to do next."""
    parts: list[RenderableType] = [curve(run)]
    data = run.options.data
    how = f"{run.unit}, {run.loop} loop" if data is None else f"gradient steps, data: {data.steps:,} of {data.source}"
    done = f"{run.end:,} of {run.steps:,}" if run.stopped else f"{run.steps:,}"
    parts += [f"{run.config.name} on {run.world}, {done} {how}", *filter(None, [run.early]), seeds_table(run)]
    if len(run.seeds) > SHOWN_SEEDS:
        parts.append(f"... and {len(run.seeds) - SHOWN_SEEDS:,} more")
    parts.append(describe_summary(run.summary()))
    if "exact/is_optimal" in run.history.columns:
        parts.append(describe_optimality(run.steps_to_optimal(), run.unit.removesuffix("s")))
    parts += inexact(run.environment)
    if run.folder is not None:
        parts += [f"saved in {run.folder}: config, history.csv, policies (final and best of each seed), episodes"]
        named = options_to_repeat(run.world, run.env_kwargs, run.config)  # what only a file says is not done
        parts += [f"next: bellmax eval {shlex.quote(str(run.folder))} --episodes 100{named}"]
    return render(*parts)


def seeds_table(run: Run) -> Table:
    """A row for each of the first seeds: its score, its last training return, and how far it is from the truth."""

    def last(name: str) -> FloatArray:
        return run.history[name][:, -1] if name in run.history.columns else np.full(len(run.seeds), np.nan)

    table = Table()
    for name in ("seed", "final score", "last ep_rew_mean"):
        table.add_column(name, justify="right")
    exact = "exact/q_error" in run.history.columns
    if exact:
        table.add_column("‖Q−Q*‖∞", justify="right")
        discounted = " (discounted)" * is_discounted(run.history, run.config.gamma)
        table.add_column(f"policy / optimum{discounted}", justify="right")
    recent, error = last("rollout/ep_rew_mean"), last("exact/q_error")
    value, best = last("exact/policy_return"), last("exact/optimal_return")
    for i, seed in enumerate(run.seeds[:SHOWN_SEEDS]):
        row = [str(seed), f"{run.scores[i]:.4g}", "-" if np.isnan(recent[i]) else f"{recent[i]:.4g}"]
        if exact:
            row += [f"{error[i]:.2g}", f"{value[i]:.5g} / {best[i]:.5g}"]
        table.add_row(*row)
    return table


def describe_optimality(found: StepsToOptimal, unit: str = "step") -> str:
    """From which step (or other `unit`) on the greedy policy was optimal: median and 95 % interval over seeds."""
    n, reached = found.steps.size, int(np.isfinite(found.steps).sum())
    if not np.isfinite(found.median):
        return f"policy optimal at the end in {reached:,} of {counted(n, 'seed')}"
    if n == 1:
        return f"policy optimal from {unit} {found.median:,.0f}"
    low, high = ("never" if np.isinf(figure) else f"{figure:,.0f}" for figure in (found.low, found.high))
    between = "" if np.isnan(found.low) else f" [{low}, {high}]"
    median = f"policy optimal from {unit} {found.median:,.0f}{between}, median over seeds"
    return f"{median}; {reached:,} of {n:,} seeds"


def describe_evaluation(run: Run, which: str, results: list[Evaluation], summary: Summary) -> str:
    """Each seed's returns, and all seeds together."""
    table = Table()
    for name in ("seed", "mean", "min", "max", "mean length", "episodes"):
        table.add_column(name, justify="right")
    for seed, (returns, lengths) in zip(run.seeds, results, strict=True):
        figures = (returns.mean(), returns.min(), returns.max(), lengths.mean())
        table.add_row(str(seed), *(f"{figure:.4g}" for figure in figures), str(returns.size))
    return render(f"{which} policies of {run.folder}", table, describe_summary(summary), *inexact(run.environment))


def describe_solution(mdp: FiniteMDP, solution: Solution, result: dict[str, Any]) -> str:
    """The first states' values, the start value with its bound, and what the time limit makes of it."""
    names = mdp.action_names or tuple(str(a) for a in range(mdp.n_actions))
    columns = {"v": solution.v} | {f"q({name})": solution.q[:, a] for a, name in enumerate(names)}
    soft = f", ε = {result['epsilon']}" if result.get("epsilon") is not None else ""
    said = [f"value of the start {solution.start_value:.7f}, every value within {solution.bound:.1e}"]
    if result["return_within_limit"] is not None:
        kind, limit = "ε-soft" if soft else "greedy", result["max_episode_steps"]
        within = f"within {counted(limit, 'step')} {result['return_within_limit']:.6f}"
        said.append(f"expected return of the {kind} policy {within}")
    title = f"{result['world']}, γ = {result['gamma']}{soft}"
    return describe_values(mdp, title, columns, solution.policy, *said)


def describe_values(mdp: FiniteMDP, title: str, columns: dict[str, FloatArray], policy: IntArray, *said: str) -> str:
    """A table of `columns`, each [S], with the best action behind the first; the first states, then what is `said`."""
    names = mdp.action_names or tuple(str(a) for a in range(mdp.n_actions))
    first, *others = columns
    table = Table()
    for name in ("state", first, "best", *others):
        table.add_column(name, justify="right")
    shown = min(mdp.n_states, 64)
    for s in range(shown):
        cells = [str(mdp.state_names[s]) if mdp.state_names else str(s), f"{columns[first][s]:.6g}"]
        table.add_row(*cells, names[policy[s]], *(f"{columns[name][s]:.6g}" for name in others))
    parts: list[RenderableType] = [title, table]
    if shown < mdp.n_states:
        parts.append(f"... and {mdp.n_states - shown} more states; --json lists all")
    return render(*parts, *said)


def curve(run: Run, width: int = 60, height: int = 10) -> str:
    """The return over steps as a drawing in characters: the mean over seeds and the range of seeds."""
    name = first_common([run.history], SCORES)
    if name is None or len(run.history) < 2:
        return ""
    unending = np.isinf(run.history[name])
    values = np.where(unending, np.nan, run.history[name])  # a policy without end has no height
    known = ~np.isnan(values).all(axis=0)
    if not known.any():
        return ""
    steps, values = run.history["step"][known], values[:, known]
    low, mean, high = np.nanmin(values, axis=0), np.nanmean(values, axis=0), np.nanmax(values, axis=0)
    bottom, top = float(low.min()), float(high.max())
    top = top if top > bottom else bottom + 1.0
    grid = np.full((height, width), " ")
    at = np.linspace(steps[0], steps[-1], width)

    def row(y: FloatArray) -> IntArray:
        return np.round((np.interp(at, steps, y) - bottom) / (top - bottom) * (height - 1)).astype(int)

    rows = np.arange(height)[:, None]
    grid[(rows >= row(low)) & (rows <= row(high))] = "░"
    grid[row(mean), np.arange(width)] = "█"
    out = io.StringIO()
    for i in reversed(range(height)):
        label = top if i == height - 1 else bottom if i == 0 else None
        out.write(f"{'' if label is None else f'{label:.4g}':>9} │{''.join(grid[i])}\n")
    out.write(f"{'':>9} └{'─' * width}\n{'':>11}{steps[0]:<{width // 2},}{steps[-1]:>{width - width // 2},}\n")
    out.write(f"{'':>11}{name} over {run.axis}: mean (█) and range (░) of {counted(len(run.seeds), 'seed')}")
    if unending.any():
        ever, now = int(unending.any(axis=1).sum()), int(unending[:, -1].sum())
        out.write(
            f"\n{'':>11}left out where the policy never ends: {counted(ever, 'seed')} at some point, {now:,} at the end"
        )
    return out.getvalue()
