"""JAX and NumPy. One finite MDP as a compiled world and as a Gymnasium environment: the same numbers four ways."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from bellmax.arguments import describe
from bellmax.contracts import Array, Box, ConfigError, Discrete, Masked
from bellmax.envs.functional import S, World
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import successor_table


class TabulatedState(NamedTuple):
    """The state of the chain and the steps taken in this episode; int32 scalars."""

    obs: Array
    time: Array


def as_world(mdp: FiniteMDP, masked: bool = False) -> World[TabulatedState]:
    """`mdp` as a compiled world with discrete observations; its time limit truncates.

    An action that a state lacks counts as its last one, for agents that know no such difference. Those that do get
    `masked` observations, with the actions that the state has.
    """
    table = successor_table(mdp)
    n_actions, width = mdp.n_actions, table.successor.shape[1]
    successor = jnp.asarray(table.successor, jnp.int32)
    cumulative = jnp.asarray(table.cumulative, jnp.float32)
    rewards = jnp.asarray(table.reward, jnp.float32)
    noise = jnp.asarray(table.reward_std, jnp.float32) if table.reward_std.any() else None
    terminates = jnp.asarray(table.continues == 0.0)
    start = np.cumsum(mdp.start)
    start[np.flatnonzero(mdp.start)[-1] :] = 2.0  # a draw just below 1 must not run over
    start_threshold = jnp.asarray(start, jnp.float32)

    def reset(key: Array) -> tuple[TabulatedState, Array]:
        obs = jnp.sum(jax.random.uniform(key) >= start_threshold, dtype=jnp.int32)
        return TabulatedState(obs, jnp.int32(0)), obs

    def step(state: TabulatedState, action: Array, key: Array) -> tuple[TabulatedState, Array, Array, Array, Array]:
        pair = state.obs * n_actions + action
        k = jnp.int32(0)
        if width > 1:
            k = jnp.sum(jax.random.uniform(key) >= cumulative[pair], dtype=jnp.int32)
        obs, time, reward = successor[pair, k], state.time + 1, rewards[pair, k]
        if noise is not None:
            reward += noise[pair, k] * jax.random.normal(jax.random.fold_in(key, 1))
        truncated = jnp.asarray(mdp.max_episode_steps is not None and time >= mdp.max_episode_steps)
        return TabulatedState(obs, time), obs, reward, terminates[pair, k], truncated

    whole = World(mdp.name, reset, step, Discrete(mdp.n_states), n_actions, mdp.max_episode_steps)
    return with_masks(whole, jnp.asarray(mdp.allowed)) if masked else whole


def with_masks(world: World[S], allowed: Array) -> World[S]:
    """A world of discrete observations that come with the row of `allowed` [S, A] that belongs to them."""

    def reset(key: Array) -> tuple[S, Masked[Array, Array]]:
        state, obs = world.reset(key)
        return state, Masked(obs, allowed[obs])

    def step(state: S, action: Array, key: Array) -> tuple[S, Masked[Array, Array], Array, Array, Array]:
        state, obs, reward, terminated, truncated = world.step(state, action, key)
        return state, Masked(obs, allowed[obs]), reward, terminated, truncated

    space = Masked(world.observation_space, Box((world.n_actions,), "bool"))
    return world._replace(reset=reset, step=step, observation_space=space)


class TabulatedEnv(gym.Env[Any, Any]):
    """`mdp` as a Gymnasium environment, its time limit included; a missing action counts as the state's last.

    Raises:
        ConfigError: `mdp` is not a FiniteMDP.
    """

    def __init__(self, mdp: FiniteMDP) -> None:
        if not isinstance(mdp, FiniteMDP):
            raise ConfigError(f"`mdp` must be a FiniteMDP; got {describe(mdp)}")
        self.mdp = mdp
        self.table = successor_table(mdp)
        self.observation_space = gym.spaces.Discrete(mdp.n_states)
        self.action_space = gym.spaces.Discrete(mdp.n_actions)
        self.partial = not mdp.allowed.all()  # then info has a mask of the actions that the state has
        self.obs = 0
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Draw a start state."""
        super().reset(seed=seed, options=options)
        self.obs = int(self.np_random.choice(self.mdp.n_states, p=self.mdp.start))
        self.time = 0
        return self.obs, self._info()

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Draw the outcome of (state, action)."""
        if not 0 <= action < self.mdp.n_actions:
            raise ValueError(f"action {action!r} is not an integer from 0 to {self.mdp.n_actions - 1}")
        pair = self.obs * self.mdp.n_actions + int(action)
        k = int(np.searchsorted(self.table.cumulative[pair], self.np_random.random(), side="right"))
        reward, noise = float(self.table.reward[pair, k]), self.table.reward_std[pair, k]
        if noise:
            reward += float(noise * self.np_random.standard_normal())
        self.obs = int(self.table.successor[pair, k])
        self.time += 1
        truncated = self.mdp.max_episode_steps is not None and self.time >= self.mdp.max_episode_steps
        return self.obs, reward, not self.table.continues[pair, k], truncated, self._info()

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.mdp.allowed[self.obs].copy()} if self.partial else {}
