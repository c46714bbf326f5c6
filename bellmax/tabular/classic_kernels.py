"""Numba. CartPole-v1, MountainCar-v0 and Acrobot-v1 for the tabular loop, observed through tiles.

In float64 and with Gymnasium's equations: from the same state and actions the same trajectory, to the last digits.
`bellmax/envs/classic.py` has the twins for networks; sources and meanings of the numbers stand there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
from numba.extending import overload

from bellmax.contracts import FloatArray
from bellmax.tabular.kernel import OPTIONS, Generator, Index, kernel, uniform
from bellmax.tabular.representation import MaskedTiles, Representation, Tiles
from bellmax.tabular.tiles import Coder, tile

PI = math.pi
Type: TypeAlias = numba.types.Type
Draw: TypeAlias = Callable[[FloatArray, Generator], None]
Move: TypeAlias = Callable[[FloatArray, Index], tuple[float, bool]]
Sense: TypeAlias = Callable[[FloatArray, Index], float]


class Classic(NamedTuple):
    """A world of real numbers.

    Attributes:
        begin, step: the kernels that the loop calls.
        draw: `draw(place, generator)` puts the world at a start.
        move: `move(place, action) -> (reward, terminated)`, one step in place.
        sense: `sense(place, d)`, the d-th number of the observation.
        coder: the tiles.
        time_limit: steps after which an episode is cut off.
    """

    begin: Callable[[Classic, FloatArray, Representation, Generator], Index]
    step: Callable[[Classic, FloatArray, Representation, Index, Index, Generator], tuple[Index, float, float]]
    draw: Draw
    move: Move
    sense: Sense
    coder: Coder
    time_limit: int


def see(world: Classic, place: FloatArray, q: Representation, slot: Index) -> Index:
    """Observe through the tiles: a cell of a table, or a slot in which the active tiles are noted."""
    raise NotImplementedError


@kernel
def _tile_now(world: Classic, place: FloatArray, tiling: int) -> int:
    index = tiling
    for d in range(world.coder.low.shape[0]):
        index = tile(world.coder, tiling, index, d, world.sense(place, d))
    return index


def _see_cell(world: Classic, place: FloatArray, q: Representation, slot: Index) -> Index:
    return _tile_now(world, place, 0)


def _see_tiles(world: Classic, place: FloatArray, q: Tiles | MaskedTiles, slot: Index) -> Index:
    free: Index = (slot + 1) % q.active.shape[0]
    for tiling in range(q.active.shape[1]):
        q.active[free, tiling] = _tile_now(world, place, tiling)
    return free


@overload(see, jit_options=OPTIONS, strict=False)
def _see(world: Type, place: Type, q: Type, slot: Type) -> Callable[..., Index]:
    return _see_tiles if getattr(q, "instance_class", None) is Tiles else _see_cell


@kernel
def begin(world: Classic, place: FloatArray, q: Representation, generator: Generator) -> Index:
    """A new episode."""
    world.draw(place, generator)
    return see(world, place, q, np.int64(place[-1]))


@kernel
def step(
    world: Classic, place: FloatArray, q: Representation, obs: Index, action: Index, generator: Generator
) -> tuple[Index, float, float]:
    """One step of the world, observed."""
    reward, terminated = world.move(place, action)
    following = see(world, place, q, obs)
    place[-1] = following  # so that a new episode does not overwrite the end of the old one
    return following, reward, 1.0 - terminated


@kernel
def _draw_cartpole(place: FloatArray, generator: Generator) -> None:
    for i in range(4):
        place[i] = -0.05 + 0.1 * uniform(generator)


@kernel
def _move_cartpole(place: FloatArray, action: Index) -> tuple[float, bool]:
    x, x_dot, theta, theta_dot = place[0], place[1], place[2], place[3]
    force = 10.0 if action == 1 else -10.0
    cos, sin = math.cos(theta), math.sin(theta)
    push = (force + 0.05 * theta_dot * theta_dot * sin) / 1.1
    theta_acc = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos * cos / 1.1))
    x_acc = push - 0.05 * theta_acc * cos / 1.1
    place[0], place[1] = x + 0.02 * x_dot, x_dot + 0.02 * x_acc
    place[2], place[3] = theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc
    return 1.0, abs(place[0]) > 2.4 or abs(place[2]) > 12 * 2 * PI / 360


@kernel
def _sense_directly(place: FloatArray, d: Index) -> float:
    return float(place[d])


@kernel
def _draw_mountain_car(place: FloatArray, generator: Generator) -> None:
    place[0], place[1] = -0.6 + 0.2 * uniform(generator), 0.0


@kernel
def _move_mountain_car(place: FloatArray, action: Index) -> tuple[float, bool]:
    velocity = place[1] + (action - 1) * 0.001 + math.cos(3.0 * place[0]) * -0.0025
    velocity = min(max(velocity, -0.07), 0.07)
    position = min(max(place[0] + velocity, -1.2), 0.6)
    if position == -1.2 and velocity < 0.0:
        velocity = 0.0
    place[0], place[1] = position, velocity
    return -1.0, position >= 0.5 and velocity >= 0.0


@kernel
def _draw_acrobot(place: FloatArray, generator: Generator) -> None:
    for i in range(4):
        place[i] = -0.1 + 0.2 * uniform(generator)


@kernel
def _acrobot_slope(theta1: float, theta2: float, omega1: float, omega2: float, torque: float) -> tuple[float, float]:
    """Accelerations: links of 1 m, 1 kg, inertia 1 kg·m², centers of mass half way."""
    d1 = 0.25 + (1.0 + 0.25 + math.cos(theta2)) + 2.0
    d2 = 0.25 + 0.5 * math.cos(theta2) + 1.0
    phi2 = 0.5 * 9.8 * math.cos(theta1 + theta2 - PI / 2.0)
    phi1 = -0.5 * omega2 * omega2 * math.sin(theta2) - omega2 * omega1 * math.sin(theta2)
    phi1 += 1.5 * 9.8 * math.cos(theta1 - PI / 2.0) + phi2
    acc2 = torque + d2 / d1 * phi1 - 0.5 * omega1 * omega1 * math.sin(theta2) - phi2
    acc2 /= 0.25 + 1.0 - d2 * d2 / d1
    return -(d2 * acc2 + phi1) / d1, acc2


@kernel
def _wrapped(angle: float) -> float:
    while angle > PI:
        angle -= 2.0 * PI
    while angle < -PI:
        angle += 2.0 * PI
    return angle


@kernel
def _move_acrobot(place: FloatArray, action: Index) -> tuple[float, bool]:
    """One classical Runge-Kutta step of 0.2 s."""
    a, b, c, d, h, torque = place[0], place[1], place[2], place[3], 0.2, action - 1.0
    u1, v1 = _acrobot_slope(a, b, c, d, torque)
    c2, d2 = c + 0.5 * h * u1, d + 0.5 * h * v1
    u2, v2 = _acrobot_slope(a + 0.5 * h * c, b + 0.5 * h * d, c2, d2, torque)
    c3, d3 = c + 0.5 * h * u2, d + 0.5 * h * v2
    u3, v3 = _acrobot_slope(a + 0.5 * h * c2, b + 0.5 * h * d2, c3, d3, torque)
    c4, d4 = c + h * u3, d + h * v3
    u4, v4 = _acrobot_slope(a + h * c3, b + h * d3, c4, d4, torque)
    place[0] = _wrapped(a + h / 6.0 * (c + 2.0 * c2 + 2.0 * c3 + c4))
    place[1] = _wrapped(b + h / 6.0 * (d + 2.0 * d2 + 2.0 * d3 + d4))
    place[2] = min(max(c + h / 6.0 * (u1 + 2.0 * u2 + 2.0 * u3 + u4), -4.0 * PI), 4.0 * PI)
    place[3] = min(max(d + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4), -9.0 * PI), 9.0 * PI)
    terminated = -math.cos(place[0]) - math.cos(place[1] + place[0]) > 1.0
    return (0.0 if terminated else -1.0), terminated


@kernel
def _sense_acrobot(place: FloatArray, d: Index) -> float:
    if d < 4:
        return math.cos(place[d // 2]) if d % 2 == 0 else math.sin(place[d // 2])
    return float(place[d - 2])


# name: (numbers of physics, draw, move, sense, time limit)
CLASSIC: dict[str, tuple[int, Draw, Move, Sense, int]] = {
    "CartPole-v1": (4, _draw_cartpole, _move_cartpole, _sense_directly, 500),
    "MountainCar-v0": (2, _draw_mountain_car, _move_mountain_car, _sense_directly, 200),
    "Acrobot-v1": (4, _draw_acrobot, _move_acrobot, _sense_acrobot, 500),
}
# where an observation has no bound: what a good policy meets
RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "CartPole-v1": ((-2.4, -3.0, -0.21, -3.5), (2.4, 3.0, 0.21, 3.5)),
}


def build_classic(name: str, coder: Coder) -> tuple[Classic, int]:
    """The world, and how many numbers `place` has: the physics and the last slot."""
    size, draw, move, sense, limit = CLASSIC[name]
    return Classic(begin, step, draw, move, sense, coder, limit), size + 1
