"""Atari: the protocol, ends of lives and of games, and a memory that holds every frame once, bit for bit."""

from __future__ import annotations

import re
from typing import Any

import ale_py
import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import bellmax as bx
from bellmax.contracts import Box, ConfigError, ResourceError
from bellmax.envs.atari import PROTOCOL, game_seed
from bellmax.envs.host_world import Handling, HostStep, HostWorld, open_world
from bellmax.keys import make_key
from bellmax.loops.choosing import make_loop
from bellmax.loops.gymnasium_episodes import EpisodeCounter
from bellmax.sources import find_world
from bellmax.training import policy as policies

PONG, BREAKOUT = "ALE/Pong-v5", "ALE/Breakout-v5"
SPACE = Box((4, 84, 84), "uint8")
SHORT = {"max_num_frames_per_episode": 480}
TRAINING = Handling(training=True)


def games(name: str, n: int, **kwargs: Any) -> Any:
    """ale-py's own, by the protocol."""
    gym.register_envs(ale_py)
    return gym.make_vec(name, n, "vector_entry_point", **{**PROTOCOL, **kwargs})


def play(world: HostWorld, steps: int, seed: int = 3) -> tuple[Any, list[HostStep], Any]:
    """First observations, all steps, and the actions [steps, N]."""
    actions = np.random.default_rng(0).integers(world.n_actions, size=(steps, world.n))
    return world.reset(seed), [world.step(chosen) for chosen in actions], actions


@pytest.mark.parametrize(("name", "n_actions"), [(PONG, 6), (BREAKOUT, 4)])
def test_shapes_and_types(name: str, n_actions: int) -> None:
    world = open_world(name, n=2)
    assert (world.name, world.n, world.n_actions, world.max_episode_steps) == (name, 2, n_actions, 27_000)
    assert world.observation_space == SPACE
    first, steps, _ = play(world, 20)
    assert (first.shape, first.dtype) == ((2, 4, 84, 84), np.uint8)
    for step in steps:
        assert (step.obs.shape, step.obs.dtype) == (step.next_obs.shape, step.next_obs.dtype) == (first.shape, np.uint8)
        assert step.reward.dtype == np.float32
        assert step.valid.all()
    moved = np.stack([step.obs for step in steps])
    np.testing.assert_array_equal(moved[1:, :, :3], moved[:-1, :, 1:])  # a stack moves on by one frame
    assert (moved[1:, :, 3] != moved[:-1, :, 3]).any()
    world.close()


def next_seeds(t: int, over: Any, seed: int = 3) -> np.ndarray:
    """Of the games that start at the step `t` of a world that was reset with `seed`."""
    return np.array([game_seed(seed, t, i) for i in np.flatnonzero(over).tolist()])


@pytest.mark.parametrize(("name", "kwargs", "steps"), [(PONG, SHORT, 300), (BREAKOUT, {}, 500)])
def test_final_observations_are_those_of_the_other_mode(name: str, kwargs: dict[str, Any], steps: int) -> None:
    """In NEXT_STEP mode the last observation of a game is what the step itself returns."""
    world = open_world(name, env_kwargs=kwargs)
    first, taken, actions = play(world, steps)
    other = games(name, 1, **kwargs, autoreset_mode=AutoresetMode.NEXT_STEP)
    obs, ends = other.reset(seed=3)[0], 0
    np.testing.assert_array_equal(first, obs)
    for t, (step, action) in enumerate(zip(taken, actions, strict=True), 1):
        obs, reward, terminated, truncated, _ = other.step(action)
        np.testing.assert_array_equal(step.next_obs, obs)
        assert (step.reward, step.terminated, step.truncated) == (reward, terminated, truncated)
        if terminated[0] or truncated[0]:
            other.step(action)  # which it does not take: it begins anew
            ends += 1
            obs, _ = other.reset(seed=next_seeds(t, over=[True]), options={"reset_mask": np.array([True])})
        np.testing.assert_array_equal(step.obs, obs)
    assert ends >= 2
    assert (name == PONG) == any(step.truncated[0] for step in taken)
    world.close()
    other.close()


def test_a_lost_life_terminates_in_training_and_the_game_goes_on() -> None:
    world, other = open_world(BREAKOUT, n=2, handling=TRAINING), games(BREAKOUT, 2)
    first, taken, actions = play(world, 600)
    obs, info = other.reset(seed=3)
    lives, lost_ends, game_ends, scores = info["lives"], 0, 0, EpisodeCounter.of(2)
    running, expected = np.zeros(2), []
    np.testing.assert_array_equal(first, obs)
    for t, (step, action) in enumerate(zip(taken, actions, strict=True), 1):
        obs, reward, terminated, truncated, info = other.step(action)
        over = terminated | truncated
        if over.any():
            finals = np.array(info["final_obs"])
            obs, info = other.reset(seed=next_seeds(t, over), options={"reset_mask": over})
            info["final_obs"] = finals
        lost = (info["lives"] < lives) & ~over
        lives = info["lives"]
        assert step.terminated.tolist() == (terminated | lost).tolist()
        assert step.truncated.tolist() == truncated.tolist()
        assert step.ended.tolist() == over.tolist()
        np.testing.assert_array_equal(step.obs, obs)
        final = np.where(over[:, None, None, None], info.get("final_obs", obs), obs)
        np.testing.assert_array_equal(step.next_obs, final)
        scores.record(step)
        running += reward
        expected += running[over].tolist()
        running[over] = 0
        lost_ends, game_ends = lost_ends + int(lost.sum()), game_ends + int(over.sum())
    assert game_ends >= 4
    assert lost_ends >= 4 * (game_ends - 1)
    assert scores.drain().returns.tolist() == expected  # of games, not of lives
    assert sum(expected) > 0
    world.close()
    other.close()


def test_evaluation_plays_whole_games_and_so_does_training_without_lives() -> None:
    for kwargs, handling in (({}, Handling()), ({"episodic_life": False}, TRAINING)):
        world = open_world(BREAKOUT, n=2, env_kwargs=kwargs, handling=handling)
        _, taken, _ = play(world, 300)
        ends = np.stack([step.terminated for step in taken])
        np.testing.assert_array_equal(ends, [step.ended for step in taken])
        assert 2 <= ends.sum() <= 6  # and not five times as many
        world.close()


def test_an_evaluation_scores_the_game_itself() -> None:
    """The same game by hand: rewards as they are, to the end of its last life or of its time."""
    config = bx.DQN(net_arch=(16,))
    agent = config.make(SPACE, 4, 100)
    policy = policies.Policy(BREAKOUT, config, SPACE, 4, agent.parameters(agent.init(make_key(1))), SHORT)
    played = bx.evaluate(policy, episodes=1, seed=5)
    other = games(BREAKOUT, 1, **SHORT)
    obs, total, length, over = other.reset(seed=5)[0], 0.0, 0, False
    while not over:
        obs, reward, terminated, truncated, _ = other.step(policy.act(obs))
        total, length, over = total + reward[0], length + 1, bool(terminated[0] or truncated[0])
    assert (played.returns.tolist(), played.lengths.tolist()) == ([total], [length])
    other.close()


def test_the_memory_holds_what_the_world_gave_bit_for_bit() -> None:
    steps, n = 480, 2
    config = bx.DQN(
        num_envs=n, buffer_size=2_000, batch_size=8, learning_starts=200, train_freq=8, net_arch=(16,), gamma=0.5
    )
    source = find_world(BREAKOUT, None, Handling())
    loop = make_loop(config, source, "host", steps)
    run = loop.start([0])
    rows: list[list[tuple[Any, ...]]] = [[] for _ in range(n)]
    world, inner = run.world, run.world.step

    def step(actions: Any) -> HostStep:
        obs = run.obs
        taken = inner(actions)
        for i in range(n):
            discount = 0.0 if taken.terminated[i] else 0.5
            rows[i].append((obs[i].copy(), int(actions[i]), float(taken.reward[i]), discount, taken.next_obs[i].copy()))
        return taken

    world.step = step
    run, _ = loop.advance(run, 0, steps)
    (data,) = loop.experience(run)
    (learner, kept), _, _ = run.block.result()
    loop.close(run)
    flat = [row for each in rows for row in each]
    assert (data.steps, len(flat)) == (steps, steps)
    np.testing.assert_array_equal(data.obs, np.stack([row[0] for row in flat]))
    np.testing.assert_array_equal(data.next_obs, np.stack([row[4] for row in flat]))
    assert data.action.tolist() == [row[1] for row in flat]
    assert data.reward.tolist() == [row[2] for row in flat]
    assert data.terminated.tolist() == [row[3] == 0 for row in flat]
    assert data.terminated.sum() > 5

    agent = config.make(SPACE, source.n_actions, steps)
    sample = jax.jit(jax.vmap(agent.memory.sample, (None, 0, None)))
    batch, _, _ = jax.tree.map(np.asarray, sample(kept, jax.random.split(make_key(1), 40), learner.updates))
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    known = {(row[0].tobytes(), row[1], row[2], row[3], row[4].tobytes()) for row in flat}
    drawn = {
        (o.tobytes(), int(a), float(r), float(d), p.tobytes())
        for o, a, r, d, p in zip(*batch, strict=True)
    }  # fmt: skip
    assert len(drawn) > 100
    assert drawn <= known


@pytest.mark.parametrize("agent", [bx.DQN, bx.Rainbow])
def test_a_million_transitions_fit_where_a_million_frames_do(agent: Any) -> None:
    config = agent(buffer_size=1_000_000)
    leaves = jax.tree.leaves(jax.eval_shape(config.make(SPACE, 4, 10**7).memory.init))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    assert 84 * 84 * 10**6 <= size <= 7.5e9


def test_sticky_actions_and_frame_skips_are_arguments() -> None:
    def run(**kwargs: Any) -> Any:
        world = open_world(PONG, env_kwargs=kwargs)
        _, taken, _ = play(world, 60)
        world.close()
        return np.stack([step.obs for step in taken])

    plain, sticky = run(), run(repeat_action_probability=0.25)
    np.testing.assert_array_equal(plain, run())
    np.testing.assert_array_equal(sticky, run(repeat_action_probability=0.25))
    assert (plain != sticky).any()
    assert (plain != run(frameskip=2)).any()
    assert run(stack_num=2).shape[2] == 2
    source = find_world(PONG, {"repeat_action_probability": 0.25})
    assert source.space == SPACE


@pytest.mark.parametrize(
    ("world", "kwargs", "message"),
    [
        ("ALE/Pongg-v5", {}, "unknown environment 'ALE/Pongg-v5'; did you mean 'ALE/Pong-v5'?"),
        (
            PONG,
            {"env_kwargs": {"autoreset_mode": "NextStep"}},
            f"{PONG}: bellmax sets autoreset_mode itself; leave it out",
        ),
        (
            PONG,
            {"workers": 2, "num_envs": 2},
            f"{PONG}: ale-py steps its games in its own threads; leave workers out",
        ),
        (PONG, {"on_nonfinite": "skip"}, f"{PONG}: on_nonfinite='skip' needs plain environments, each of which"),
        (PONG, {"env_kwargs": {"framskip": 3}}, f"{PONG}: cannot be made with env_kwargs {{'framskip': 3}}: "),
    ],
)
def test_what_cannot_be_played(world: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        bx.train(world, "dqn", steps=200, **kwargs)


def test_a_memory_that_would_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(ResourceError) as error:
        bx.train(PONG, "dqn", steps=200, buffer_size=10**8)
    told = re.fullmatch(
        r"buffer_size=100000000 for observations of Box\(shape=\(4, 84, 84\), dtype='uint8'\), with the network, "
        r"needs (\d+\.\d) GB, and (\d+\.\d) GB are free; buffer_size=(\d+) fits",
        str(error.value),
    )
    assert told is not None
    needed, free, fits = float(told[1]), float(told[2]), int(told[3])
    assert 700 < needed < 760
    assert fits / 10**8 * needed < 0.6 * free
    make_loop(bx.DQN(buffer_size=fits), find_world(PONG), "host", 200)
