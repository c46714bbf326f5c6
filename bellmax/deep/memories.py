"""JAX. The replay buffer that the settings of an agent describe: ring, sampler, n steps, frames, scale of rewards."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp

from bellmax.contracts import Array, Experience, Memory
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.replay.frames import make_frame_replay, shares_frames
from bellmax.replay.memory import make_replay
from bellmax.replay.prioritized import prioritized_sampler
from bellmax.replay.ring import Ring
from bellmax.replay.sampling import Sampler, uniform_sampler

M = TypeVar("M")  # the state of a memory


def make_memory(config: ReplayConfig, example: Experience, steps: int) -> Memory[Any]:
    """Return a replay buffer of transitions or sequences, uniform or prioritized, for a run of `steps`."""
    sequences = config.recurrent != "none"
    window = config.window if sequences else 1

    def sampler(ring: Ring) -> Sampler[Any]:
        if not config.prioritized:
            return uniform_sampler(ring, config.batch_size, window)
        return prioritized_sampler(
            ring,
            config.batch_size,
            alpha=config.priority_alpha,
            beta=(config.priority_beta, config.priority_beta_final),
            epsilon=config.priority_epsilon,
            steps=steps,
            window=window,
        )

    moving = (lambda updates: horizon(config, updates)) if config.anneal_interval else None
    make = make_frame_replay if shares_frames(example.transition.obs) else make_replay
    return make(example, config.buffer_size, config.num_envs, sampler, config.window, moving, sequences)


def horizon(config: ReplayConfig, updates: Array) -> tuple[Array, Array]:
    """Return (n, γ) after `updates` gradient steps, exponential in n and 1 - γ. Schwarzer et al. (2023), section 3."""
    age = updates % config.reset_interval if config.reset_interval else updates
    share = jnp.minimum(age / config.anneal_interval, 1.0)
    n = config.n_steps_initial * (config.n_steps / config.n_steps_initial) ** share
    gap = (1.0 - config.gamma_initial) ** (1.0 - share) * (1.0 - config.gamma) ** share
    return jnp.round(n).astype(jnp.int32), 1.0 - gap


def shaped(config: DeepConfig, memory: Memory[M]) -> Memory[M]:
    """Return the memory with rewards scaled and clipped before they are stored."""
    if config.reward_scale == 1.0 and not config.reward_clip:
        return memory

    def add(state: M, experience: Experience, valid: Array | None = None) -> M:
        reward = experience.transition.reward * config.reward_scale
        reward = reward.clip(-config.reward_clip, config.reward_clip) if config.reward_clip else reward
        shaped = experience._replace(transition=experience.transition._replace(reward=reward))
        return memory.add(state, shaped, valid)

    return memory._replace(add=add)
