"""An environment of your own that compiles: a lighthouse keeper rows home through drifting fog.

    bellmax check-env my_world:harbor
    bellmax train my_world:harbor --agent dqn --steps 20000

Two pure functions of arrays, and what they promise; bellmax compiles the whole run around them. `reset` and `step` get
a random key each time and return new states: they change nothing and print nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bellmax.extend import Array, Box, World

LENGTH = 8.0  # how far it is across the harbor
LIMIT = 60  # steps, after which the boat is picked up


class Boat(NamedTuple):
    """Where the boat is (float32 [2]), and how many steps it has taken (int32)."""

    place: Array
    time: Array


def harbor(drift: float = 0.3) -> World:
    """Row north, east, south or west to the pier at (1, 1); reward -1 a step, 20 at the pier. `drift` is the fog's."""
    strokes = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])

    def see(boat: Boat) -> Array:
        return boat.place / LENGTH

    def reset(key: Array) -> tuple[Boat, Array]:
        boat = Boat(jax.random.uniform(key, (2,), maxval=0.5 * LENGTH), jnp.int32(0))
        return boat, see(boat)

    def step(boat: Boat, action: Array, key: Array) -> tuple[Boat, Array, Array, Array, Array]:
        place = boat.place + strokes[action] + drift * jax.random.normal(key, (2,))
        boat = Boat(jnp.clip(place, 0.0, LENGTH), boat.time + 1)
        home = jnp.all(boat.place > 0.8 * LENGTH)
        reward = jnp.where(home, 20.0, -1.0)
        return boat, see(boat), reward, home, boat.time >= LIMIT

    return World("harbor", reset, step, Box((2,), low=0.0, high=1.0), n_actions=4, max_episode_steps=LIMIT)
