"""NumPy. Greedy episodes with the value predicted at each step, beside the discounted return that followed."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import BellmaxError, BoolArray, FloatArray, Masked
from bellmax.envs.raising import closed_at_the_end
from bellmax.sources import Source
from bellmax.training.compiled_as_host import as_host
from bellmax.training.play import SEED_OFFSET, STEP_CAP
from bellmax.training.policy import Policy

SECONDS = 6.0  # of playing for one policy; an environment that needs longer is left out
EPISODES = 10
SEED = 4 * SEED_OFFSET  # no other evaluation uses these


class Greedy(NamedTuple):
    """One greedy episode of T steps.

    Attributes:
        predicted: [T] the largest action value at each step.
        rewards: [T] as the agent learns them: scaled and clipped.
        returns: [T] the discounted sum of the rewards from each step on; where a time limit cut the episode, it ends
            with the value predicted for its last observation.
        raw: the sum of the environment's rewards, undiscounted.
        cut: whether a time limit ended it.
        states: [T + 1, k] the observations, the last one included, or None if they are not arrays of numbers.
        actions: [T].
    """

    predicted: FloatArray
    rewards: FloatArray
    returns: FloatArray
    raw: float
    cut: bool
    states: np.ndarray | None
    actions: np.ndarray


def play_with_values(policy: Policy, source: Source, episodes: int = EPISODES) -> list[Greedy] | None:
    """Play greedy episodes side by side, one in each environment; None if that takes too long or fails."""
    if source.fixed is not None:
        return None  # the environment is somebody's object
    try:
        return _play(policy, as_host(source), episodes)
    except BellmaxError:
        return None


def _play(policy: Policy, source: Source, episodes: int) -> list[Greedy] | None:
    """Return one episode of each environment, None if they take too long."""
    worlds, end = source.open_worlds(episodes), time.monotonic() + SECONDS
    worlds.use_masks(if_given=True)
    n, cap = worlds.n, source.max_episode_steps or STEP_CAP
    predicted, actions, rewards = list[FloatArray](), list[np.ndarray](), list[FloatArray]()
    lengths, cut, after = np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n)
    with closed_at_the_end(worlds):
        obs, carry = worlds.reset(SEED), policy.begin(n)
        states: list[FloatArray | None] = [flat_observation(obs)]
        playing: BoolArray = np.ones(n, np.bool_)
        while playing.any():
            if time.monotonic() > end:
                return None
            q, carry = policy.look_from_zero(carry, obs)
            step = worlds.step(np.argmax(q, axis=1))
            predicted.append(np.asarray(q.max(axis=1), np.float64))
            actions.append(np.argmax(q, axis=1))
            rewards.append(np.asarray(step.reward, np.float64))
            lengths += playing
            over = playing & (step.ended | step.begins | (lengths >= cap))
            cut_now = over & ~step.terminated
            if cut_now.any():
                following = policy.look_from_zero(carry, step.next_obs)[0].max(axis=1)
                cut, after = cut | cut_now, np.where(cut_now, following, after)
            playing, obs = playing & ~over, step.obs
            states.append(flat_observation(step.next_obs))
    return [
        _episode(i, int(lengths[i]), policy.config, predicted, actions, rewards, states, bool(cut[i]), float(after[i]))
        for i in range(n)
    ]


def _episode(
    i: int,
    length: int,
    config: AgentConfig,
    predicted: list[FloatArray],
    actions: list[np.ndarray],
    rewards: list[FloatArray],
    states: list[FloatArray | None],
    cut: bool,
    after: float,
) -> Greedy:
    """Return the episode of environment i from what all of them did, step by step."""
    raw = np.array([row[i] for row in rewards[:length]])
    learned = learned_rewards(config, raw)
    returns, following = np.zeros(length), after
    for t in reversed(range(length)):
        following = learned[t] + config.gamma * following
        returns[t] = following
    known = [row[i] for row in states[: length + 1] if row is not None]
    return Greedy(
        np.array([row[i] for row in predicted[:length]]), learned, returns, float(raw.sum()), cut,
        np.array(known) if len(known) == length + 1 else None, np.array([row[i] for row in actions[:length]]),
    )  # fmt: skip


def learned_rewards(config: AgentConfig, rewards: FloatArray) -> FloatArray:
    """Return rewards as the agent learns them: multiplied by `reward_scale`, then clipped to ± `reward_clip`."""
    scaled = rewards * float(getattr(config, "reward_scale", 1.0))
    clip = float(getattr(config, "reward_clip", 0.0) or 0.0)
    return np.clip(scaled, -clip, clip) if clip else scaled


def flat_observation(obs: object) -> FloatArray | None:
    """Return the observations of n environments as vectors [n, k], None if they have parts or are images."""
    if isinstance(obs, Masked):
        return flat_observation(obs.obs)
    if not isinstance(obs, np.ndarray) or obs.ndim > 2 or not np.issubdtype(obs.dtype, np.number):
        return None
    return np.array(obs.reshape(len(obs), -1), np.float64)
