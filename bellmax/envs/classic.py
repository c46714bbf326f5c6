"""JAX. Compiled twins of Gymnasium 1.4's CartPole-v1, MountainCar-v0 and Acrobot-v1, time limits included.

From the same state and actions a twin gives Gymnasium's trajectory to float32 rounding. Two differences, both
by design: a twin computes in the dtype of `ClassicState.physics` (float32 from `reset`; give it float64 under
`jax.enable_x64` and it is Gymnasium to the last digits), and a step after the end of an episode, which
Gymnasium leaves undefined, goes on as if the episode had not ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Box
from bellmax.envs.functional import World

Scalars: TypeAlias = tuple[Array, ...]
# physics (k scalars), action (a float scalar) -> physics, obs (scalars), reward, terminated
Dynamics: TypeAlias = Callable[[Scalars, Array], tuple[Scalars, Scalars, Array, Array]]


class ClassicState(NamedTuple):
    """Where a world is. Public, so that a world can be set to any physics.

    Attributes:
        physics: `[k]`, float32; the meaning of each number is in the docstring of the world.
        time: steps taken in this episode, an int32 scalar.
    """

    physics: Array
    time: Array


def cartpole() -> World[Any]:
    """The twin of CartPole-v1: keep a pole upright on a cart by pushing the cart left (0) or right (1).

    Physics `[4]` and observation `[4]`: position (m), velocity (m/s), pole angle (rad), angular velocity
    (rad/s). Reward 1 for every step. Source: Barto, Sutton & Anderson (1983), with the equations of Florian
    (2007) without friction and an explicit Euler step of 0.02 s.
    """

    def start(key: Array) -> Array:
        return jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)

    return _world("CartPole-v1", 2, 500, start, lambda physics: physics, _cartpole_dynamics, 4)


def mountain_car() -> World[Any]:
    """The twin of MountainCar-v0: rock a weak car out of a valley; push left (0), not at all (1), right (2).

    Physics `[2]` and observation `[2]`: position (-1.2 to 0.6, the goal at 0.5), velocity (at most 0.07 a
    step). Reward -1 for every step. Source: Moore (1990), as in Sutton & Barto (2018), example 10.1.
    """

    def start(key: Array) -> Array:
        position = jax.random.uniform(key, (), jnp.float32, -0.6, -0.4)
        return jnp.stack([position, jnp.zeros_like(position)])

    return _world("MountainCar-v0", 3, 200, start, lambda physics: physics, _mountain_car_dynamics, 2)


def acrobot() -> World[Any]:
    """The twin of Acrobot-v1: swing a two-link pendulum above a line with torque -1 (0), 0 (1) or 1 (2) N·m.

    Physics `[4]`: angle of link 1 from straight down, angle of link 2 relative to link 1 (rad, -π to π), and
    their velocities (rad/s). Observation `[6]`: cosine and sine of the first angle, of the second, both
    velocities. Reward -1 for every step, 0 for the one that reaches the line. Source: Sutton (1996), with the
    dynamics of Sutton & Barto (2018), one classical Runge-Kutta step of 0.2 s.
    """

    def start(key: Array) -> Array:
        return jax.random.uniform(key, (4,), jnp.float32, -0.1, 0.1)

    return _world("Acrobot-v1", 3, 500, start, _acrobot_observation, _acrobot_dynamics, 6)


CLASSIC: dict[str, Callable[[], World[Any]]] = {
    "CartPole-v1": cartpole,
    "MountainCar-v0": mountain_car,
    "Acrobot-v1": acrobot,
}


def _world(
    name: str,
    n_actions: int,
    limit: int,
    start: Callable[[Array], Array],
    observe: Callable[[Scalars], Scalars],
    dynamics: Dynamics,
    obs_size: int,
) -> World[Any]:
    """Dynamics on scalars as a `World` with a time limit; arrays are taken apart first and stacked last."""

    def reset(key: Array) -> tuple[ClassicState, Array]:
        physics = start(key)
        obs = jnp.stack(observe(tuple(physics)))
        return ClassicState(physics, jnp.zeros((), jnp.int32)), obs

    def step(state: ClassicState, action: Array, key: Array) -> tuple[ClassicState, Array, Array, Array, Array]:
        del key  # nothing is random after the start
        before = tuple(state.physics[i] for i in range(state.physics.shape[0]))
        after, obs, reward, terminated = dynamics(before, jnp.asarray(action, state.physics.dtype))
        time = state.time + 1
        physics = jnp.stack(after)
        seen = physics if obs is after else jnp.stack(obs)
        # Like Gymnasium's TimeLimit: true at the limit, also if the world ends by itself in that very step.
        truncated = time >= limit
        return ClassicState(physics, time), seen.astype(jnp.float32), reward, terminated, truncated

    return World(name, reset, step, Box((obs_size,), "float32"), n_actions, limit)


def _cartpole_dynamics(physics: Scalars, action: Array) -> tuple[Scalars, Scalars, Array, Array]:
    """Masses 1 kg (cart) and 0.1 kg (pole), half-length 0.5 m, force ±10 N."""
    gravity, total_mass, pole_mass, half_length, tau = 9.8, 1.1, 0.1, 0.5, 0.02
    x, x_dot, theta, theta_dot = physics
    force = 20.0 * action - 10.0
    cos, sin = jnp.cos(theta), jnp.sin(theta)
    push = (force + pole_mass * half_length * theta_dot * theta_dot * sin) * (1.0 / total_mass)
    theta_acc = (gravity * sin - cos * push) / (
        half_length * (4.0 / 3.0) - (half_length * pole_mass / total_mass) * cos * cos
    )
    x_acc = push - (pole_mass * half_length / total_mass) * theta_acc * cos
    x, x_dot = x + tau * x_dot, x_dot + tau * x_acc
    theta, theta_dot = theta + tau * theta_dot, theta_dot + tau * theta_acc
    terminated = (jnp.abs(x) > 2.4) | (jnp.abs(theta) > math.radians(12))
    after = (x, x_dot, theta, theta_dot)
    return after, after, jnp.ones((), jnp.float32), terminated


def _mountain_car_dynamics(physics: Scalars, action: Array) -> tuple[Scalars, Scalars, Array, Array]:
    """The car sees the slope of sin(3x); the left wall is inelastic."""
    position, velocity = physics
    velocity = velocity + 0.001 * (action - 1.0) - 0.0025 * jnp.cos(3.0 * position)
    velocity = jnp.clip(velocity, -0.07, 0.07)
    position = jnp.clip(position + velocity, -1.2, 0.6)
    velocity = jnp.where((position <= -1.2) & (velocity < 0.0), 0.0, velocity)
    terminated = (position >= 0.5) & (velocity >= 0.0)
    after = (position, velocity)
    return after, after, -jnp.ones((), jnp.float32), terminated


def _acrobot_dynamics(physics: Scalars, action: Array) -> tuple[Scalars, Scalars, Array, Array]:
    """One Runge-Kutta step, angles wrapped to ±π, velocities clipped to ±4π and ±9π."""
    torque, dt = action - 1.0, 0.2

    def ahead(slope: Scalars, by: float) -> Scalars:
        return tuple(y + by * dy for y, dy in zip(physics, slope, strict=True))

    k1 = _acrobot_slope(physics, torque)
    k2 = _acrobot_slope(ahead(k1, dt / 2), torque)
    k3 = _acrobot_slope(ahead(k2, dt / 2), torque)
    k4 = _acrobot_slope(ahead(k3, dt), torque)
    mean = tuple(a + 2.0 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    theta1, theta2, omega1, omega2 = ahead(mean, dt / 6)
    # Rounding to whole turns leaves an angle within ±π as it is, bit for bit, and needs no loop.
    theta1, theta2 = (x - 2 * math.pi * jnp.round(x / (2 * math.pi)) for x in (theta1, theta2))
    omega1 = jnp.clip(omega1, -4 * math.pi, 4 * math.pi)
    omega2 = jnp.clip(omega2, -9 * math.pi, 9 * math.pi)
    after = (theta1, theta2, omega1, omega2)
    obs = _acrobot_observation(after)
    terminated = -obs[0] - jnp.cos(theta1 + theta2) > 1.0
    return after, obs, jnp.where(terminated, 0.0, -1.0).astype(jnp.float32), terminated


def _acrobot_observation(physics: Scalars) -> Scalars:
    """The angles as points on a circle, then the velocities."""
    theta1, theta2, omega1, omega2 = physics
    return jnp.cos(theta1), jnp.sin(theta1), jnp.cos(theta2), jnp.sin(theta2), omega1, omega2


def _acrobot_slope(physics: Scalars, torque: Array) -> Scalars:
    """Time derivative of the physics: links of 1 m, 1 kg, inertia 1 kg·m², centers of mass half way.

    Gymnasium's "book" equations with these numbers put in, and cos(x - π/2) written sin(x).
    """
    theta1, theta2, omega1, omega2 = physics
    cos2, sin2 = jnp.cos(theta2), jnp.sin(theta2)
    d1 = 3.5 + cos2  # m1 lc1² + m2 (l1² + lc2² + 2 l1 lc2 cos θ2) + I1 + I2
    d2 = 1.25 + 0.5 * cos2  # m2 (lc2² + l1 lc2 cos θ2) + I2
    phi2 = 4.9 * jnp.sin(theta1 + theta2)
    phi1 = -(0.5 * omega2 + omega1) * omega2 * sin2 + 14.7 * jnp.sin(theta1) + phi2
    ratio = d2 / d1
    acc2 = (torque + ratio * phi1 - 0.5 * omega1 * omega1 * sin2 - phi2) / (1.25 - d2 * ratio)
    acc1 = -(ratio * acc2 + phi1 / d1)
    return omega1, omega2, acc1, acc2
