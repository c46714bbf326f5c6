"""NumPy. The score of random play, and what else a verdict on a run goes by."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bellmax.contracts import BellmaxError, FloatArray, Masked
from bellmax.mdp.model import FiniteMDP
from bellmax.sources import Source
from bellmax.training.compiled_as_host import opened
from bellmax.training.evaluate import SEED_OFFSET, STEP_CAP, play_host
from bellmax.training.exact import policy_return
from bellmax.training.grading import GRADES
from bellmax.training.verdict import Facts

if TYPE_CHECKING:
    from bellmax.training.run import Run

SECONDS = 3.0  # random play of a slow environment stops here, and counts as not known
SIDE_BY_SIDE = 32


class Chance(NamedTuple):
    """Random play: its mean return, the standard error of that, and the share of episodes at the cut-off.

    `spread` is the standard deviation of one return, and `unmeasured` why the score is NaN.
    """

    score: float = math.nan
    error: float = 0.0
    at_cutoff: float = math.nan
    spread: float = 0.0
    unmeasured: str = ""


class _TooSlow(Exception):
    """Random play takes longer than it is worth."""


class RandomPlayer:
    """Plays allowed actions, each with the same chance, until its time is over."""

    config = None

    def __init__(self, n_actions: int, seed: int) -> None:
        self._n, self._random = n_actions, np.random.default_rng(seed)
        self._end = time.monotonic() + SECONDS

    def begin(self, n: int) -> Any:
        """It remembers nothing."""
        del n
        return ()

    def look(self, carry: Any, obs: Any) -> tuple[Any, Any]:
        """Random values [n, A], -inf where an action is not allowed."""
        if time.monotonic() > self._end:
            raise _TooSlow
        first = obs
        while isinstance(first, tuple) and not isinstance(first, Masked):
            first = first[0]
        n = len(first.mask if isinstance(first, Masked) else first)
        values = self._random.random((n, self._n))
        return (np.where(first.mask, values, -np.inf) if isinstance(first, Masked) else values), carry


def play_randomly(source: Source, episodes: int, seed: int, *, exactly: bool, gamma: float) -> Chance:
    """The score of random actions: by the table where scores are exact, else of as many episodes, in bounded time."""
    if exactly and source.mdp is not None:
        return Chance(policy_return(source.mdp, uniform(source.mdp), gamma))
    if source.fixed is not None or not episodes:
        return Chance()
    source = source if source.open is not None else opened(source)
    player: Any = RandomPlayer(source.n_actions, seed)
    begin = time.monotonic()
    try:
        played = play_host(player, source, min(episodes, SIDE_BY_SIDE), seed)
        if episodes > SIDE_BY_SIDE and time.monotonic() - begin < SECONDS / 6:
            more = play_host(player, source, episodes - SIDE_BY_SIDE, seed + SIDE_BY_SIDE)
            played = type(played)(*(np.concatenate(pair) for pair in zip(played, more, strict=True)))
    except _TooSlow:
        return Chance(unmeasured="slow environment or busy machine")
    except BellmaxError:
        return Chance()
    spread = float(played.returns.std())
    error = spread / math.sqrt(max(played.returns.size, 1))
    cutoff = source.max_episode_steps or STEP_CAP
    return Chance(played.mean_return, error, float((played.lengths >= cutoff).mean()), spread)


def uniform(mdp: FiniteMDP) -> FloatArray:
    """[S, A] probabilities of allowed actions, all the same."""
    allowed = np.asarray(mdp.allowed, np.float64)
    return np.asarray(allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1.0))


def facts_of(run: Run, source: Source | None) -> Facts:
    """What a run and its environment say; without an environment nothing is known of random play."""
    history, n = run.history, len(run.seeds)
    unknown = np.full(n, np.nan)

    def last(name: str, beside: str = "") -> FloatArray:
        """The last known number of each seed, and of the column `beside` at that record."""
        if name not in history.columns:
            return unknown
        values = np.asarray(history[beside or name])
        seen = ~np.isnan(history[name])
        at = values.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
        return np.where(seen.any(axis=1), values[np.arange(n), at], np.nan)

    grade = next((name for name in GRADES if name in history.columns), None)
    best, best_step = unknown, unknown
    if grade is not None:
        values = np.where(np.isnan(history[grade]), -np.inf, history[grade])
        best, best_step = values.max(axis=1), np.asarray(history["step"], np.float64)[values.argmax(axis=1)]
    played = run.evaluations
    exactly = "exact/policy_return" in history.columns and np.array_equal(
        run.scores, history["exact/policy_return"][:, -1], equal_nan=True
    )
    limit = source.max_episode_steps if source is not None else None
    cutoff = limit or STEP_CAP
    endless = grade == "exact/policy_return" and limit is None  # values of episodes that nothing cuts off
    discounted = endless and run.config.gamma != 1.0
    spread = np.array([each.returns.std() if each.returns.size else 0.0 for each in played] or np.zeros(n))
    sizes = np.array([max(each.returns.size, 1) for each in played] or np.ones(n))
    chance, floor = Chance(), math.nan
    if source is not None:
        with contextlib.suppress(BellmaxError):
            chance = play_randomly(
                source, run.options.final_episodes, 3 * SEED_OFFSET, exactly=exactly, gamma=run.config.gamma
            )
            floor = chance.score
            if endless and source.mdp is not None:
                floor = policy_return(source.mdp, uniform(source.mdp), run.config.gamma)
    spread_in_play = np.maximum(spread, chance.spread)
    kept = [each.returns[-100:] for each in run.episodes]
    in_training = np.array([returns.std() if returns.size else 0.0 for returns in kept] or np.zeros(n))
    ended = np.maximum(np.nan_to_num(last("rollout/ep_rew_mean", "rollout/episodes")), 1.0)
    comparable = not (exactly and discounted)
    eval_episodes = run.options.eval_episodes if grade == "eval/mean_reward" else 0
    return Facts(
        final=np.array(run.scores, np.float64),
        error=np.zeros(n) if exactly else spread / np.sqrt(sizes),
        at_cutoff=np.array([(each.lengths >= cutoff).mean() for each in played]) if played else unknown,
        cutoff=cutoff,
        limited=limit is not None,
        optimal=last("exact/is_optimal"),
        graded=unknown if grade is None else np.asarray(history[grade])[:, -1],
        best=best,
        best_step=best_step,
        graded_error=spread_in_play / math.sqrt(eval_episodes) if eval_episodes else np.zeros(n),
        evaluations=0 if grade is None else int((~np.isnan(history[grade])).any(axis=0).sum()),
        eval_episodes=eval_episodes,
        episodes=0 if exactly or not played else int(sizes[0]),
        training=last("rollout/ep_rew_mean") if comparable else unknown,
        training_error=np.maximum(spread_in_play, in_training) / np.sqrt(ended),
        ends=source is not None and source.mdp is not None and bool(source.mdp.terminated.any()),
        unmeasured=chance.unmeasured,
        offline=run.options.data is not None,
        learning_rate=_number(getattr(run.config, "learning_rate", math.nan)),
        random=chance.score,
        random_error=chance.error,
        random_at_cutoff=chance.at_cutoff,
        floor=floor,
        discounted=discounted,
        averaged=bool(getattr(run.config, "weight_averaging", False)),
        clipped=np.nan_to_num(last("train/clipped_targets")),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
