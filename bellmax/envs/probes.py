"""JAX. Probe worlds: tiny worlds with closed-form action values, one failure mode of an agent each.

An agent that cannot learn these values within seconds has a fault, and the first probe that fails says where.
Run them in the order of `PROBES`. Idea: Andy Jones, "Debugging RL, Without the Agonizing Pain" (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bellmax.contracts import Array, Box, FloatArray, Masked
from bellmax.envs.functional import World
from bellmax.registry import Registry


class Probe(NamedTuple):
    """A world and what an agent must find in it.

    Attributes:
        world: the world; observations are `[1]` float32, or a few numbers.
        observations: `[N, 1]` float32, every observation from which an action is taken, as a policy takes them.
        q: `q(gamma) -> [N, A]` float64, the exact action values of those observations, for gamma < 1; -inf where an
            action is not allowed.
        tests: the one thing that this probe tests.
    """

    world: World[Any]
    observations: Any
    q: Callable[[float], FloatArray]
    tests: str


class ProbeState(NamedTuple):
    """`cue` is -1 or 1 (float32), drawn at the start of the episode; `time` counts its steps (int32)."""

    cue: Array
    time: Array


def constant() -> Probe:
    """Reward 1, then the end: the value is 1."""
    world = _world("probe:constant", 1, _blank, lambda cue, time, action: 1.0, ends=1)
    return Probe(world, _column(0), lambda gamma: np.array([[1.0]]), "The loss pulls a value to its reward.")


def observation() -> Probe:
    """The observation is -1 or 1 by a coin, the reward is the observation."""
    world = _world("probe:observation", 1, _see_cue, lambda cue, time, action: cue, ends=1)
    return Probe(
        world,
        _column(-1, 1),
        lambda gamma: np.array([[-1.0], [1.0]]),
        "The value depends on the observation: it reaches the network, and stays with its own reward.",
    )


def delay() -> Probe:
    """Two steps, and reward 1 for the second."""
    world = _world("probe:delay", 1, _see_time, lambda cue, time, action: time, ends=2)
    return Probe(
        world,
        _column(0, 1),
        lambda gamma: np.array([[gamma], [1.0]]),
        "The value of the next observation is bootstrapped, and discounted once.",
    )


def action() -> Probe:
    """One step; reward -1 for action 0 and 1 for action 1."""
    world = _world("probe:action", 2, _blank, lambda cue, time, action: 2 * action - 1, ends=1)
    return Probe(
        world,
        _column(0),
        lambda gamma: np.array([[-1.0, 1.0]]),
        "The error goes to the action that was taken, and acting prefers the better one.",
    )


def match() -> Probe:
    """One step; the observation is -1 or 1, and the reward is 1 if action 0 or 1 matches it, else -1."""
    world = _world("probe:match", 2, _see_cue, lambda cue, time, action: cue * (2 * action - 1), ends=1)
    return Probe(
        world,
        _column(-1, 1),
        lambda gamma: np.array([[1.0, -1.0], [-1.0, 1.0]]),
        "The best action depends on the observation (exclusive or): both travel together through the memory.",
    )


def termination() -> Probe:
    """Reward 1 a step and the end after three; the observation counts the steps taken."""
    world = _world("probe:termination", 1, _see_time, lambda cue, time, action: 1.0, ends=3)
    return Probe(
        world,
        _column(0, 1, 2),
        lambda gamma: np.array([[1 + gamma + gamma**2], [1 + gamma], [1.0]]),
        "Nothing is bootstrapped from a terminal observation.",
    )


def time_limit() -> Probe:
    """Reward 1 a step forever, in episodes cut off after 10 steps: the value is 1 / (1 - γ)."""
    world = _world("probe:time-limit", 1, _blank, lambda cue, time, action: 1.0, limit=10)
    return Probe(
        world,
        _column(0),
        lambda gamma: np.array([[1 / (1 - gamma)]]),
        "A time limit is not an end: the value goes on through the truncation.",
    )


def autoreset() -> Probe:
    """Reward 0 in the first step and 1 in each later one, forever, in episodes cut off after 2 steps.

    The observation is 0 at the start, then 1. If the start of the next episode is stored as the final
    observation of this one, or an n-step window runs on into it, the value at 1 becomes 1 / (1 - γ²), about
    half of what is true.
    """
    world = _world("probe:autoreset", 1, _see_started, lambda cue, time, action: time > 0, limit=2)
    return Probe(
        world,
        _column(0, 1),
        lambda gamma: np.array([[gamma / (1 - gamma)], [1 / (1 - gamma)]]),
        "A truncated episode bootstraps from its own final observation, not from the next episode's start.",
    )


def mask() -> Probe:
    """The probe `match` with a third action, which is forbidden and would pay 5, then a second step that pays 0.

    Its two steps see the cue; in the second only action 0 is allowed.
    """
    matched = _world("probe:mask", 3, _see_cue, _pay_match, ends=2)

    def see(state: ProbeState, obs: Array) -> Masked[Array, Array]:
        return Masked(
            jnp.stack([obs[0], state.time.astype(jnp.float32)]), jnp.arange(3) < jnp.maximum(2 - state.time, 1)
        )

    def reset(key: Array) -> tuple[ProbeState, Masked[Array, Array]]:
        state, obs = matched.reset(key)
        return state, see(state, obs)

    def step(
        state: ProbeState, action: Array, key: Array
    ) -> tuple[ProbeState, Masked[Array, Array], Array, Array, Array]:
        state, obs, reward, terminated, truncated = matched.step(state, action, key)
        return state, see(state, obs), reward, terminated, truncated

    no = -np.inf
    world = matched._replace(reset=reset, step=step, observation_space=Masked(Box((2,)), Box((3,), "bool")))
    seen = np.array([[-1, 0], [1, 0], [-1, 1], [1, 1]], np.float32)
    allowed = np.array([[True, True, False]] * 2 + [[True, False, False]] * 2)
    return Probe(
        world,
        Masked(seen, allowed),
        lambda gamma: np.array([[1.0, -1.0, no], [-1.0, 1.0, no], [0.0, no, no], [0.0, no, no]]),
        "An action that is not allowed is neither taken, nor explored, nor bootstrapped from.",
    )


def _pay_match(cue: Array, time: Array, action: Array) -> Array:
    """In the first step 1 for the action that matches the cue, else -1; 5 for an action that is not allowed."""
    paid = jnp.where(time == 0, cue * (2 * action - 1), 0.0)
    return jnp.where(action >= jnp.maximum(2 - time, 1), 5.0, paid)


def recall() -> Probe:
    """The cue -1 or 1 is shown only at the start; in the third step action 0 or 1 must match it, for 1, else -1.

    The observation is (cue, steps taken). For agents that remember: its values are of histories, so none are listed.
    """
    world = _world("probe:recall", 2, _see_cue, _pay_recall, ends=3)

    def see(state: ProbeState) -> Array:
        time = state.time.astype(jnp.float32)
        return jnp.stack([jnp.where(time == 0, state.cue, 0.0), time])

    def reset(key: Array) -> tuple[ProbeState, Array]:
        state, _ = world.reset(key)
        return state, see(state)

    def step(state: ProbeState, action: Array, key: Array) -> tuple[ProbeState, Array, Array, Array, Array]:
        state, _, reward, terminated, truncated = world.step(state, action, key)
        return state, see(state), reward, terminated, truncated

    return Probe(
        world._replace(reset=reset, step=step, observation_space=Box((2,))),
        np.zeros((0, 2), np.float32),
        lambda gamma: np.zeros((0, 2)),
        "An agent must remember what it saw at the start of an episode, and forget it in the next.",
    )


def _pay_recall(cue: Array, time: Array, action: Array) -> Array:
    return jnp.where(time == 2, cue * (2 * action - 1), 0.0)


PROBES: Registry[Callable[[], Probe]] = Registry(
    "probe",
    {
        "probe:constant": constant,
        "probe:observation": observation,
        "probe:delay": delay,
        "probe:action": action,
        "probe:match": match,
        "probe:termination": termination,
        "probe:time-limit": time_limit,
        "probe:autoreset": autoreset,
        "probe:mask": mask,
        "probe:recall": recall,
    },
)


def _world(
    name: str,
    n_actions: int,
    observe: Callable[[ProbeState], Array],
    reward: Callable[[Array, Array, Array], Any],
    *,
    ends: int | None = None,
    limit: int | None = None,
) -> World[Any]:
    """A world that terminates after `ends` steps or is truncated after `limit`.

    `observe(state)` and `reward(cue, time, action)` give scalars; `time` counts the steps before this one.
    """

    def see(state: ProbeState) -> Array:
        return observe(state).astype(jnp.float32).reshape(1)

    def reset(key: Array) -> tuple[ProbeState, Array]:
        state = ProbeState(jax.random.rademacher(key, (), jnp.float32), jnp.zeros((), jnp.int32))
        return state, see(state)

    def step(state: ProbeState, action: Array, key: Array) -> tuple[ProbeState, Array, Array, Array, Array]:
        del key  # the only coin is thrown at the start
        after = ProbeState(state.cue, state.time + 1)
        paid = jnp.asarray(reward(state.cue, state.time, jnp.asarray(action, jnp.int32)), jnp.float32)
        return after, see(after), paid, _reached(after.time, ends), _reached(after.time, limit)

    return World(name, reset, step, Box((1,), "float32"), n_actions, limit)


def _reached(time: Array, steps: int | None) -> Array:
    """Whether the step count is there; never, if there is none."""
    return jnp.zeros((), bool) if steps is None else time >= steps


def _column(*values: float) -> npt.NDArray[np.float32]:
    """Observations `[N, 1]`."""
    return np.array(values, np.float32)[:, None]


def _blank(state: ProbeState) -> Array:
    return jnp.zeros((), jnp.float32)


def _see_cue(state: ProbeState) -> Array:
    return state.cue


def _see_time(state: ProbeState) -> Array:
    return state.time


def _see_started(state: ProbeState) -> Array:
    return state.time > 0
