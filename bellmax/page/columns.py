"""Plain Python. What each column of a history is called on the page, and what it means."""

from __future__ import annotations

from typing import NamedTuple

from bellmax.training.history import SCORES, first_common
from bellmax.training.run import Run


class Words(NamedTuple):
    """A column in words: the title of its chart, and a sentence under it."""

    title: str
    note: str


COLUMNS = {
    "exact/policy_return": Words("Exact return", "Expected return of the greedy policy, computed from the model."),
    "eval/mean_reward": Words("Return in evaluation", "Mean return of greedy episodes at each record."),
    "rollout/ep_rew_mean": Words("Return in training", "Mean return of the episodes since the last record, exploring."),
    "rollout/ep_len_mean": Words("Episode length in training", "Mean number of steps of these episodes."),
    "rollout/episodes": Words("Episodes", "How many training episodes ended since the last record."),
    "rollout/exploration_rate": Words("Exploration rate ε", "The probability of a random action."),
    "rollout/dropped": Words("Steps left out", "Steps that were not stored, because the environment failed."),
    "eval/mean_ep_length": Words("Episode length in evaluation", "Mean number of steps of the greedy episodes."),
    "train/loss": Words("Loss", "Mean over the gradient steps since the last record."),
    "train/td_error": Words("TD error", "Mean |target − Q(s, a)| since the last record."),
    "train/q": Words("Learned values", "Mean Q(s, a) of the transitions that were learned from."),
    "train/max_reward": Words("Largest reward", "Largest |reward| that was learned from, after scaling."),
    "train/clipped_targets": Words("Clipped targets", "Share of the targets outside the atoms."),
    "train/clipped_rewards": Words("Clipped rewards", "Share of the rewards that reward_clip changed."),
    "train/conservative_gap": Words("Conservative gap", "Mean log-sum-exp of the values minus the value in the data."),
    "exact/q_error": Words("Largest error ‖Q−Q*‖", "Over the state-action pairs that can occur."),
    "exact/q_error_weighted": Words("Error on the optimal path", "Mean |Q−Q*|, weighted by the optimal policy's time."),
    "exact/policy_value": Words("Exact value", "Discounted value from the start of the greedy policy."),
    "exact/regret": Words("Regret", "Exact optimal value minus that of the greedy policy."),
    "exact/is_optimal": Words("Optimal seeds", "1 where the greedy policy is optimal, else 0."),
    "exact/visited": Words("Visited pairs", "Share of the state-action pairs that were updated."),
    "exact/least_visits": Words("Least visits", "Updates of the least visited pair."),
    "time/fps": Words("Speed", "Environment steps per second, over all seeds."),
    "system/rss_mb": Words("Memory", "Megabytes of this process."),
}
LEARNING = ("train/loss", "train/td_error", "train/q", "rollout/exploration_rate")
HIDDEN = {"time/total_timesteps", "exact/optimal_value", "exact/optimal_return"}
TIME = "time/"


def words_of(column: str) -> Words:
    """Return a column in words; one of your own has its name."""
    return COLUMNS.get(column) or Words(column, "")


def score_column(run: Run) -> str | None:
    """Return the column of the learning curve, None if nothing was scored."""
    return first_common([run.history], SCORES)


def axis_of(run: Run) -> str:
    """Return what a run counts, such as "environment steps"."""
    return "environment steps" if run.unit == "steps" else run.unit


def is_time(column: str) -> bool:
    """Return whether a column is a part of the time of a step, such as time/env_ms."""
    return column.startswith(TIME) and column.endswith("_ms")
