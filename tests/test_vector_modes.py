"""Whatever resets the worlds and whatever keeps the steps: the replay memory holds what happened, row by row.

The real host loop trains a network, and the memory that it learned from is read back and compared with the rule of the
counter world. The rule is written down here once more, so that nothing compares with itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from worlds import Counter, Filmed

import bellmax as bx
from bellmax.envs.host_world import Handling
from bellmax.keys import make_key
from bellmax.loops.choosing import make_loop
from bellmax.loops.loop import Loop
from bellmax.replay.frames import FrameState
from bellmax.sources import Source, find_world

WORLDS, STEPS, SEED, GAMMA = 2, 400, 1, 0.5  # with such a γ and whole rewards every sum of three is exact in float32
SPACING = 1_000  # episode numbers between two worlds


def vector(mode: AutoresetMode, make: Callable[[], Counter]) -> Source:
    return find_world(lambda: SyncVectorEnv([make] * WORLDS, autoreset_mode=mode))


MODES: dict[str, Callable[[Callable[[], Counter]], Source]] = {
    "next step": functools.partial(vector, AutoresetMode.NEXT_STEP),
    "same step": functools.partial(vector, AutoresetMode.SAME_STEP),
    "disabled": functools.partial(vector, AutoresetMode.DISABLED),
    "plain": find_world,
    "workers": lambda make: find_world(make, None, Handling(workers=2)),
}
MEMORIES: dict[str, tuple[type[Counter], dict[str, Any]]] = {
    "flat": (Counter, {}),
    "overwritten": (Counter, {"buffer_size": 128}),
    "n steps": (Counter, {"n_steps": 3}),
    "prioritized": (Counter, {"prioritized": True, "n_steps": 3, "buffer_size": 128}),
    "frames": (Filmed, {"buffer_size": 2_000}),
    "frames, overwritten": (Filmed, {"n_steps": 3, "prioritized": True, "buffer_size": 256}),
}


class Row(NamedTuple):
    """One step, as the memory has it."""

    obs: Any
    action: int
    reward: float
    terminated: bool
    truncated: bool
    next_obs: Any


def where(obs: np.ndarray) -> tuple[int, int, int]:
    """(episode, step, last action) of an observation."""
    if obs.dtype == np.uint8:
        high, low, time, action = obs[-1, 0, :4].tolist()
        return 256 * high + low, time, action
    episode, time, action = obs.tolist()
    return int(episode), int(time), int(action)


def frame(episode: int, time: int, action: int) -> np.ndarray:
    pixels = np.full((8, 8), 7, np.uint8)
    pixels[0, :4] = episode // 256, episode % 256, time, action
    return pixels


def first_obs(episode: int, like: np.ndarray) -> np.ndarray:
    if like.dtype == np.uint8:
        return np.stack([frame(episode, 0, 0)] * 3)
    return np.array([episode, 0, 0], np.float32)


def rule(obs: np.ndarray, action: int) -> Row:
    """What the counter does: a row that follows from its observation and its action."""
    episode, time, _ = where(obs)
    over = time + 1 == 3 + episode % 3
    terminated = over and episode % 4 in (0, 2, 3)
    next_obs = np.array([episode, time + 1, action], np.float32)
    if obs.dtype == np.uint8:
        next_obs = np.stack([*obs[1:], frame(episode, time + 1, action)])
    return Row(obs, action, 100 * episode + 10 * (time + 1) + action, terminated, over and not terminated, next_obs)


def rows_of(data: bx.Dataset, sizes: list[int]) -> list[list[Row]]:
    """The rows of each world; each is checked against the rule, and against the row before it."""
    assert data.steps == sum(sizes)
    worlds: list[list[Row]] = []
    begin = 0
    for size in sizes:
        rows: list[Row] = []
        for t in range(begin, begin + size):
            row = Row(*(array[t] for array in data[:1]), int(data.action[t]), float(data.reward[t]),
                      bool(data.terminated[t]), bool(data.truncated[t]), data.next_obs[t])  # fmt: skip
            expected = rule(row.obs, row.action)
            np.testing.assert_array_equal(row.next_obs, expected.next_obs)
            newest = t == begin + size - 1  # after which there is nothing yet
            assert row[1:4] == expected[1:4]
            assert row.truncated == (expected.truncated or (newest and not row.terminated))
            if rows:
                ended = rows[-1].terminated or rows[-1].truncated
                follows = first_obs(where(rows[-1].obs)[0] + 1, row.obs) if ended else rows[-1].next_obs
                np.testing.assert_array_equal(row.obs, follows)
            rows.append(row)
        worlds.append(rows)
        begin += size
    return worlds


def several(rows: list[Row], t: int, n: int) -> tuple[float, float, Any]:
    """(sum of rewards, discount, last observation) of up to n steps from t, within the episode."""
    reward, discount = 0.0, 1.0
    for row in rows[t : t + n]:
        reward += discount * row.reward
        discount *= 0.0 if row.terminated else GAMMA
        if row.terminated or row.truncated:
            break
    return reward, discount, row.next_obs


class Shared(NamedTuple):
    """What all modes have in common, so that it is compiled once: only the worlds differ."""

    config: bx.DQN
    loop: Loop
    sample: Callable[..., Any]


MODE: list[str] = []  # in which the next run opens its worlds


@functools.cache
def shared(memory: str) -> Shared:
    kind, settings = MEMORIES[memory]
    config = bx.DQN(**{
        "gamma": GAMMA, "num_envs": WORLDS, "net_arch": (8,), "batch_size": 32, "buffer_size": 1_000,
        "learning_starts": 20, "learning_rate": 1e-4, "train_freq": 2, "target_update_interval": 8, **settings,
    })  # fmt: skip
    make = functools.partial(kind, spacing=SPACING)
    source = find_world(make)._replace(work=lambda n: MODES[MODE[-1]](make).open_worlds(n, training=True))
    memory_of_agent = config.make(source.space, source.n_actions, STEPS).memory
    sample = jax.jit(jax.vmap(memory_of_agent.sample, (None, 0, None)))
    return Shared(config, make_loop(config, source, "host", STEPS), sample)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("mode", MODES)
def test_the_memory_holds_what_happened(mode: str, memory: str) -> None:
    kind, (config, loop, sample) = MEMORIES[memory][0], shared(memory)
    MODE.append(mode)
    run = loop.start([SEED])
    assert run.world.n == WORLDS
    for t in range(0, STEPS, STEPS // 4):  # in chunks, as in training
        run, chunks = loop.advance(run, t, STEPS // 4)
        assert np.isfinite([*chunks[0].metrics.values()]).all()
    (data,) = loop.experience(run)
    (learner, kept), _, _ = run.block.result()
    loop.close(run)
    assert learner.updates > 80
    worlds = rows_of(data, kept.ring.size.tolist())

    whole = "overwritten" not in memory and config.buffer_size > STEPS
    for i, rows in enumerate(worlds):
        ends = {(row.terminated, row.truncated) for row in rows[:-1]}
        assert ends == {(False, False), (True, False), (False, True)}
        assert {row.action for row in rows} == {0, 1}
        if whole:  # nothing is missing: from the first step on, all but the steps in which a world reset itself
            np.testing.assert_array_equal(rows[0].obs, first_obs(SPACING * (SEED + i), rows[0].obs))
            over = sum(row.terminated or row.truncated for row in rows[:-1])
            last = sum(rule(rows[-1].obs, rows[-1].action)[3:5])
            resets = (over, over + last) if mode == "next step" else (0,)
            assert STEPS // WORLDS - len(rows) in resets
        else:
            room = config.buffer_size // WORLDS
            assert room // (4 if kind is Filmed else 1) <= len(rows) <= room

    batch, weight, index = jax.tree.map(np.asarray, sample(kept, jax.random.split(make_key(5), 40), learner.updates))
    at = {where(row.obs)[:2]: (rows, t) for rows in worlds for t, row in enumerate(rows)}
    drawn = set()
    for key in range(40):
        for b in range(config.batch_size):
            obs, action, reward, discount, next_obs = (leaf[key, b] for leaf in batch)
            rows, t = at[where(obs)[:2]]
            drawn.add(where(obs)[:2])
            np.testing.assert_array_equal(obs, rows[t].obs)
            expected = several(rows, t, config.n_steps)
            assert (int(action), float(reward), float(discount)) == (rows[t].action, *expected[:2])
            np.testing.assert_array_equal(next_obs, expected[2])
    assert (weight > 0).all()
    assert (weight <= 1).all() if config.prioritized else (weight == 1).all()
    assert len(drawn) > 0.8 * len(at)
    assert isinstance(kept, FrameState) == (kind is Filmed)
    assert index.min() >= 0
