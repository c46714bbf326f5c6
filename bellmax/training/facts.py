"""NumPy. The numbers that a verdict on a run is based on: its history, its evaluations, and random play."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import BellmaxError, FloatArray
from bellmax.loops.logs import Episodes
from bellmax.sources import Source
from bellmax.training.exact import policy_return
from bellmax.training.grading import GRADES
from bellmax.training.history import History
from bellmax.training.options import RunOptions
from bellmax.training.play import SEED_OFFSET, STEP_CAP, Evaluation
from bellmax.training.random_play import RandomScore, play_randomly, uniform_policy
from bellmax.training.verdict import Facts


class Best(NamedTuple):
    """The column by which policies are graded, and for each seed [seeds] the highest grade and its step."""

    column: str | None
    grade: FloatArray
    step: FloatArray


def facts_of(
    history: History,
    config: AgentConfig,
    options: RunOptions,
    scores: Sequence[float],
    evaluations: Sequence[Evaluation],
    episodes: Sequence[Episodes],
    source: Source | None,
) -> Facts:
    """Collect the numbers of a run; without an environment, those of random play are missing."""
    n = len(scores)
    unknown = np.full(n, np.nan)
    best = _best(history, n)
    exactly = scores_are_exact(history, scores)
    limit = source.max_episode_steps if source is not None else None
    cutoff = limit or STEP_CAP
    endless = best.column == "exact/policy_return" and limit is None  # values of episodes that are never truncated
    discounted = endless and config.gamma != 1.0
    chance, floor = _random(source, config.gamma, options.final_episodes, exactly=exactly, endless=endless)
    spread = np.array([each.returns.std() if each.returns.size else 0.0 for each in evaluations] or np.zeros(n))
    sizes = np.array([max(each.returns.size, 1) for each in evaluations] or np.ones(n))
    spread_in_play = np.maximum(spread, chance.spread)
    kept = [each.returns[-100:] for each in episodes]
    in_training = np.array([returns.std() if returns.size else 0.0 for returns in kept] or np.zeros(n))
    ended = np.maximum(np.nan_to_num(_last(history, n, "rollout/ep_rew_mean", "rollout/episodes")), 1.0)
    eval_episodes = options.eval_episodes if best.column == "eval/mean_reward" else 0
    grades = None if best.column is None else np.asarray(history[best.column])
    return Facts(
        final=np.array(scores, np.float64),
        error=np.zeros(n) if exactly else spread / np.sqrt(sizes),
        at_cutoff=np.array([(each.lengths >= cutoff).mean() for each in evaluations]) if evaluations else unknown,
        cutoff=cutoff,
        limited=limit is not None,
        optimal=_last(history, n, "exact/is_optimal"),
        graded=unknown if grades is None else grades[:, -1],
        best=best.grade,
        best_step=best.step,
        graded_error=spread_in_play / math.sqrt(eval_episodes) if eval_episodes else np.zeros(n),
        evaluations=0 if grades is None else int((~np.isnan(grades)).any(axis=0).sum()),
        eval_episodes=eval_episodes,
        episodes=0 if exactly or not evaluations else int(sizes[0]),
        training=unknown if exactly and discounted else _last(history, n, "rollout/ep_rew_mean"),
        training_error=np.maximum(spread_in_play, in_training) / np.sqrt(ended),
        ends=source is not None and source.mdp is not None and bool(source.mdp.terminated.any()),
        unmeasured=chance.unmeasured,
        offline=options.data is not None,
        learning_rate=_number(getattr(config, "learning_rate", math.nan)),
        random=chance.score,
        random_error=chance.error,
        random_at_cutoff=chance.at_cutoff,
        floor=floor,
        discounted=discounted,
        averaged=bool(getattr(config, "weight_averaging", False)),
        clipped=np.nan_to_num(_last(history, n, "train/clipped_targets")),
    )


def _last(history: History, n: int, name: str, beside: str = "") -> FloatArray:
    """The last known number of each of n seeds, and of the column `beside` at that record."""
    if name not in history.columns:
        return np.full(n, np.nan)
    values = np.asarray(history[beside or name])
    seen = ~np.isnan(history[name])
    at = values.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
    return np.where(seen.any(axis=1), values[np.arange(n), at], np.nan)


def _best(history: History, n: int) -> Best:
    """The best record of each of n seeds."""
    column = next((name for name in GRADES if name in history.columns), None)
    if column is None:
        return Best(None, np.full(n, np.nan), np.full(n, np.nan))
    values = np.where(np.isnan(history[column]), -np.inf, history[column])
    return Best(column, values.max(axis=1), np.asarray(history["step"], np.float64)[values.argmax(axis=1)])


def scores_are_exact(history: History, scores: Sequence[float]) -> bool:
    """Return whether the scores are exact expected returns."""
    name = "exact/policy_return"
    return name in history.columns and np.array_equal(scores, history[name][:, -1], equal_nan=True)


def is_discounted(history: History, gamma: float) -> bool:
    """Return whether exact returns are discounted values, as the environment has no time limit."""
    names = [f"exact/policy_{kind}" for kind in ("return", "value")]
    if gamma == 1.0 or not all(name in history.columns for name in names):
        return False
    returns, values = map(history.last, names)
    return np.array_equal(returns, values, equal_nan=True)


def _random(
    source: Source | None, gamma: float, episodes: int, *, exactly: bool, endless: bool
) -> tuple[RandomScore, float]:
    """Random play, and its score in the units of the grades."""
    chance, floor = RandomScore(), math.nan
    if source is not None:
        with contextlib.suppress(BellmaxError):
            chance = play_randomly(source, episodes, 3 * SEED_OFFSET, exactly=exactly, gamma=gamma)
            floor = chance.score
            if endless and source.mdp is not None:
                floor = policy_return(source.mdp, uniform_policy(source.mdp), gamma)
    return chance, floor


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
