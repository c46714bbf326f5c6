"""All spaces of observations and actions, from Gymnasium to what is learned and back; wrappers; scaled numbers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces as native
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from worlds import Counter, Cue

import bellmax as bx
from bellmax import observations, spaces
from bellmax.contracts import (
    Box,
    ConfigError,
    Discrete,
    EnvContractError,
    Experience,
    Masked,
    MultiDiscrete,
    Named,
    NonFiniteError,
    Transition,
    UnsafeFile,
)
from bellmax.envs.host_world import HostWorld, open_world
from bellmax.keys import make_key
from bellmax.networks.layers import Standardizer
from bellmax.replay.frames import FrameState
from bellmax.training.evaluate import evaluate

FAST: dict[str, Any] = {
    "net_arch": (32,), "batch_size": 32, "learning_starts": 40, "buffer_size": 2_000, "learning_rate": 1e-2,
    "learning_rate_schedule": "constant", "gamma": 0.1, "weight_averaging": False,
}  # fmt: skip
TRAIN: dict[str, Any] = {"loop": "host", "eval_episodes": 0, "final_episodes": 10, "records": 2, "progress": False}


def box(*shape: int, low: float = -9, high: float = 9) -> native.Box:
    return native.Box(low, high, shape)


def image(*shape: int) -> native.Box:
    return native.Box(0, 255, shape, np.uint8)


def bright(shape: tuple[int, ...], cue: int) -> np.ndarray:
    """One half of the image is bright."""
    pixels = np.zeros(shape, np.uint8)
    pixels[..., : shape[1] // 2, :] = 200 * cue
    pixels[..., shape[1] // 2 :, :] = 200 * (1 - cue)
    return pixels


OBSERVATIONS: dict[str, tuple[native.Space[Any], spaces.Space, tuple[Any, Any]]] = {
    "box of one number": (box(), Box(()), (np.array(-1, "f4"), np.array(1, "f4"))),
    "discrete from -3": (native.Discrete(4, start=-3), Discrete(4), (-3, 0)),
    "dict": (
        native.Dict(b=native.Discrete(3), a=box(2, 2)),
        Named(("b", "a"), (Discrete(3), Box((2, 2)))),
        ({"a": np.eye(2, dtype="f4"), "b": 0}, {"a": np.eye(2, dtype="f4"), "b": 2}),
    ),
    "tuple": (
        native.Tuple([native.Discrete(3), box(2)]),
        (Discrete(3), Box((2,))),
        ((1, np.zeros(2, "f4")), (1, np.ones(2, "f4"))),
    ),
    "flags": (
        native.MultiBinary([2, 2]),
        Box((2, 2), "bool"),
        (np.eye(2, dtype="i1"), 1 - np.eye(2, dtype="i1")),
    ),
    "several integers": (
        native.MultiDiscrete([3, 4], start=[1, -2]),
        MultiDiscrete((3, 4)),
        (np.array([1, 1]), np.array([3, -2])),
    ),
    "dict of an image and of numbers": (
        native.Dict(camera=native.Dict(rgb=image(8, 8, 3)), speed=box(2)),
        Named(("camera", "speed"), (Named(("rgb",), (Box((8, 8, 3), "uint8"),)), Box((2,)))),
        (
            {"camera": {"rgb": bright((8, 8, 3), 0)}, "speed": np.ones(2, "f4")},
            {"camera": {"rgb": bright((8, 8, 3), 1)}, "speed": np.ones(2, "f4")},
        ),
    ),
    "image, channels first": (image(2, 9, 9), Box((2, 9, 9), "uint8"), (bright((2, 9, 9), 0), bright((2, 9, 9), 1))),
    "image, channels last": (image(9, 9, 2), Box((9, 9, 2), "uint8"), (bright((9, 9, 2), 0), bright((9, 9, 2), 1))),
}


@pytest.mark.parametrize("case", OBSERVATIONS)
def test_every_observation_is_learned_from_evaluated_saved_and_loaded(case: str, tmp_path: Path) -> None:
    space, ours, cues = OBSERVATIONS[case]
    world = functools.partial(Cue, space, cues)
    assert all(map(space.contains, cues))
    first = open_world(world)
    assert first.observation_space == ours
    run = bx.train(world, "dqn", steps=320, out=tmp_path / "run", keep_experience=True, **TRAIN, **FAST)
    assert run.scores == [5.0]  # the right answer at every step
    policy = bx.load(tmp_path / "run").policy()
    assert policy.space == ours
    assert evaluate(policy, world, episodes=5, seed=3).returns.tolist() == [5.0] * 5
    assert [policy.act(cue) for cue in cues] == [0, 1]
    with pytest.raises(ConfigError, match="observation"):
        policy.act(np.zeros((7, 7, 7, 7)))
    obs = first.reset(0)
    q, _ = policy.look_from_zero(None, obs)
    np.testing.assert_array_equal(q, run.policy().look_from_zero(None, obs)[0])
    assert q.shape == (1, 2)
    (data,) = run.experience  # its integers count from 0, whatever the environment's do
    right, best = data.reward == 1.0, np.argmax(policy.look_from_zero(None, data.obs)[0], axis=1)
    np.testing.assert_array_equal(best, np.where(right, data.action, 1 - data.action))


def test_images_channels_first_are_kept_frame_by_frame_and_others_whole() -> None:
    for shape, shared in (((2, 9, 9), True), ((9, 9, 2), False)):
        config = bx.DQN(buffer_size=100)
        memory = config.make(Box(shape, "uint8"), 2, 100).memory
        assert isinstance(jax.eval_shape(memory.init), FrameState) == shared


def test_a_batch_and_one_of_a_dictionary() -> None:
    space = Named(("a", "b"), (Box((2,)), Named(("c",), (Discrete(3),))))
    one = {"b": {"c": 2}, "a": [1, 2]}
    batch, single = observations.read_batch(space, one)
    assert single
    assert (batch[0].tolist(), batch[1][0].tolist()) == ([[1, 2]], [2])
    many, single = observations.read_batch(space, {"b": {"c": np.array([2, 0])}, "a": np.ones((2, 2))})
    assert not single
    assert many[1][0].tolist() == [2, 0]
    assert (many[0].dtype, many[1][0].dtype) == (np.float32, np.int32)
    for wrong, message in (
        ({"a": np.ones((2, 2)), "b": {"c": 1}}, "some parts of the observation are single and some are batches"),
        ({"a": np.ones(2)}, "does not have the parts of"),
        ({"a": np.ones(2), "b": {"c": 3}}, "observation 3 is outside the integers from 0 to 2"),
        ({"a": np.ones(3), "b": {"c": 1}}, r"observation of shape \(3,\); one is \(2,\), a batch is \[B, \*\(2,\)\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            observations.read_batch(space, wrong)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("case", OBSERVATIONS)
def test_every_observation_is_the_same_in_every_vector_mode(case: str, mode: AutoresetMode) -> None:
    """As in plain environments, which are reset at once; a step in which a world resets itself is left out."""
    space, _, cues = OBSERVATIONS[case]
    make = functools.partial(Cue, space, cues)

    def rows(world: HostWorld) -> list[list[list[Any]]]:
        streams: list[list[list[Any]]] = [[], []]
        obs = world.reset(3)
        while min(map(len, streams)) < 40:
            taken = np.array([len(stream) % 2 for stream in streams])
            step = world.step(taken)
            for i in np.flatnonzero(step.valid):
                leaves = [leaf[i].tolist() for leaf in jax.tree.leaves((obs, step.next_obs))]
                streams[i].append([leaves, step.reward[i], step.terminated[i], step.truncated[i]])
            obs = step.obs
        world.close()
        return [stream[:40] for stream in streams]

    assert rows(open_world(SyncVectorEnv([make] * 2, autoreset_mode=mode))) == rows(open_world(make, n=2))


def test_what_is_no_observation_is_refused_and_not_rounded() -> None:
    pixels = np.full((2, 2), 200, np.uint8)
    for sound in (pixels, pixels.astype(np.int64), pixels.astype(np.float32)):
        assert observations.read_batch(Box((2, 2), "uint8"), sound)[0].tolist() == [[[200, 200], [200, 200]]]
    for wrong in (pixels / 255, pixels.astype(np.int64) + 56, -pixels.astype(np.int64)):
        with pytest.raises(ConfigError, match=r"is not uint8 without loss; give uint8"):
            observations.read_batch(Box((2, 2), "uint8"), wrong)
    with pytest.raises(NonFiniteError, match=r"observation\[0\]\[0\] is nan"):
        observations.read_batch(Box((2, 2), "uint8"), pixels + np.nan)
    assert observations.read_batch(Box((2,), "bool"), np.array([0, 1]))[0].tolist() == [[False, True]]
    with pytest.raises(ConfigError, match="observation of dtype int64 is not bool without loss; give bool"):
        observations.read_batch(Box((2,), "bool"), np.array([0, 2]))
    with pytest.raises(ConfigError, match="observation of dtype <U1; give numbers"):
        observations.read_batch(Box((2,)), ["a", "b"])


def test_spaces_go_through_json() -> None:
    known = [ours for _, ours, _ in OBSERVATIONS.values()]
    for space in [*known, Masked(known[3], Box((6,), "bool")), tuple(known)]:
        assert spaces.from_json(json.loads(json.dumps(spaces.to_json(space)))) == space


# actions of several parts


ACTIONS: dict[str, tuple[native.Space[Any], list[Any]]] = {
    "several integers": (
        native.MultiDiscrete([2, 3], start=[5, -1]),
        [[5, -1], [5, 0], [5, 1], [6, -1], [6, 0], [6, 1]],
    ),
    "flags": (native.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
    "integers of two axes": (native.MultiDiscrete([[2], [2]]), [[[0], [0]], [[0], [1]], [[1], [0]], [[1], [1]]]),
    "short integers": (native.MultiDiscrete([2, 2], dtype=np.int8, start=[0, 7]), [[0, 7], [0, 8], [1, 7], [1, 8]]),
    "one short integer": (native.Discrete(2, dtype=np.int32), [0, 1]),
    "one short integer from five": (native.Discrete(3, start=5, dtype=np.int16), [5, 6, 7]),
}


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", ACTIONS)
def test_every_combination_is_an_action(case: str, n: int, vector: bool) -> None:
    """Gymnasium's own actions, each once, the last part running fastest."""
    space, combinations = ACTIONS[case]
    taken: list[Any] = []

    class Takes(Cue):
        def step(self, action: Any) -> Any:
            taken.append(action)
            assert self.action_space.contains(action)
            return super().step(action)

    make = functools.partial(Takes, box(2), (np.zeros(2, "f4"), np.ones(2, "f4")), space)
    world = open_world(SyncVectorEnv([make] * n, autoreset_mode=AutoresetMode.SAME_STEP)) if vector else open_world(
        make, n=n
    )  # fmt: skip
    assert world.n_actions == len(combinations)
    world.reset(0)
    for i, combination in enumerate(combinations):
        taken.clear()
        world.step([i] * n)
        assert [action.tolist() for action in taken] == [combination] * n
        assert taken[0].dtype == space.dtype


@pytest.mark.parametrize("case", ["several integers", "flags"])
def test_actions_of_several_parts_are_learned(case: str, tmp_path: Path) -> None:
    space, combinations = ACTIONS[case]
    cues = np.zeros(2, "f4"), np.ones(2, "f4")
    answers = np.array(combinations[1]), np.array(combinations[-1])
    world = functools.partial(Cue, box(2), cues, space, answers)
    run = bx.train(world, "dqn", steps=640, out=tmp_path / "run", **TRAIN, **FAST)
    assert run.scores == [5.0]
    for policy in (run.policy(), bx.load(tmp_path / "run").policy()):
        best = [int(np.argmax(policy.q_values(cue))) for cue in cues]
        assert best == [1, len(combinations) - 1]
        for cue, answer in zip(cues, answers, strict=True):
            told = policy.act(cue)
            assert told.tolist() == answer.tolist()
            assert space.contains(told)
        assert policy.act(np.stack(cues)).tolist() == [answer.tolist() for answer in answers]


class Strict(gym.Env[Any, Any]):
    """Accepts only actions of its space; tells a state to tables and numbers to networks."""

    def __init__(self, action_space: native.Space[Any], table: bool) -> None:
        self.action_space, self.table = action_space, table
        self.observation_space = native.Discrete(3) if table else box(2)

    def obs(self) -> Any:
        return self.t % 3 if self.table else np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.obs(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), repr(action)
        assert type(action) is type(self.action_space.sample())
        self.t += 1
        return self.obs(), 1.0, False, self.t > 9, {}


@pytest.mark.parametrize(
    ("case", "agent", "how"),
    [
        *((case, "q-learning", how) for case in ACTIONS for how in ("plain", "vector")),
        ("one short integer", "q-learning", "workers"),
        ("one short integer", "dqn", "plain"),
    ],
)
def test_an_environment_gets_actions_of_its_own_space(case: str, agent: str, how: str) -> None:
    space, _ = ACTIONS[case]
    world: Any = functools.partial(Strict, space, agent == "q-learning")
    if how == "vector":
        world = SyncVectorEnv([world])
    settings = FAST if agent == "dqn" else {}
    run = bx.train(world, agent, steps=60, **TRAIN, workers=int(how == "workers"), **settings)
    assert run.scores == [10.0]
    policy = run.policy()
    obs = 1 if agent == "q-learning" else np.zeros(2, np.float32)
    assert space.contains(policy.act(obs))
    assert type(policy.act(obs)) is type(space.sample())


def test_masks_of_combinations() -> None:
    """One flag for each combination; the right answer to the second cue is forbidden, so that it is never taken."""
    space, combinations = ACTIONS["several integers"]
    taken: list[Any] = []

    class Masks(Cue):
        mask = np.array([1, 1, 0, 1, 0, 0], np.int8)

        def reset(self, **kwargs: Any) -> Any:
            return super().reset(**kwargs)[0], {"action_mask": self.mask}

        def step(self, action: Any) -> Any:
            taken.append(combinations.index(action.tolist()))
            return *super().step(action)[:4], {"action_mask": self.mask}

    cues = np.zeros(2, "f4"), np.ones(2, "f4")
    world = functools.partial(Masks, box(2), cues, space, (np.array(combinations[1]), np.array(combinations[5])))
    run = bx.train(world, "dqn", steps=320, **TRAIN, **FAST)
    assert set(taken) == {0, 1, 3}
    assert run.policy().space == Masked(Box((2,)), Box((6,), "bool"))
    mask = Masks.mask.astype(bool)
    q = run.policy().q_values(Masked(cues[0], mask))
    assert np.isneginf(q).tolist() == (~mask).tolist()
    assert run.policy().act(Masked(cues[0], mask)).tolist() == combinations[1]

    Masks.mask = np.ones(3, np.int8)
    with pytest.raises(EnvContractError, match=r"info\['action_mask'\] is .*, not one flag for each of 6 actions"):
        bx.train(world, "dqn", steps=320, **TRAIN, **FAST)


# wrappers by name


LIMIT = {"name": "TimeLimit", "max_episode_steps": 7}


class Twice(gym.RewardWrapper):
    """Every reward twice."""

    def reward(self, reward: Any) -> Any:
        return 2.0 * reward


def test_wrappers_by_name_are_part_of_a_run_and_of_its_policies(tmp_path: Path) -> None:
    wrappers = ["TimeAwareObservation", LIMIT]
    run = bx.train("CartPole-v1", "dqn", steps=100, wrappers=wrappers, out=tmp_path / "run", **TRAIN, **FAST)
    policy = bx.load(tmp_path / "run").policy()
    assert policy.space == Box((5,))  # the time is the fifth number
    assert policy.env_kwargs == {"wrappers": wrappers}
    assert run.loop == "host"
    played = bx.evaluate(policy, episodes=20, seed=4)
    assert played.lengths.max() == 7
    np.testing.assert_array_equal(played.returns, bx.evaluate(run.policy(), episodes=20, seed=4).returns)
    with pytest.raises(ConfigError, match="the policy is for Box"):
        bx.evaluate(policy, "CartPole-v1", env_kwargs={"wrappers": []}, episodes=2)
    assert bx.evaluate(policy, "CartPole-v1", episodes=2).lengths.max() == 7  # the same name: as it was trained in


@pytest.mark.filterwarnings("ignore:Twice changes the rewards", "ignore:returns are in the rewards of Twice")
def test_wrappers_of_anybody_are_not_imported_from_a_file(tmp_path: Path) -> None:
    wrappers = ["test_spaces:Twice", LIMIT]
    run = bx.train("CartPole-v1", "dqn", steps=100, wrappers=wrappers, out=tmp_path / "run", **TRAIN, **FAST)
    assert run.scores == [14.0]
    policy = bx.load(tmp_path / "run").policy()
    with pytest.raises(UnsafeFile, match=r"'test_spaces:Twice' imports a module; to allow it, pass env_kwargs="):
        bx.evaluate(policy, episodes=2)
    trusted = bx.evaluate(policy, "CartPole-v1", env_kwargs=policy.env_kwargs, episodes=2)
    assert trusted.returns.tolist() == [14.0, 14.0]


@pytest.mark.parametrize(
    ("wrappers", "message"),
    [
        (["FlatenObservation"], "unknown wrapper 'FlatenObservation'; did you mean 'FlattenObservation'?"),
        ([{"stack_size": 4}], "wrapper {'stack_size': 4} does not have a name; give \"FlattenObservation\", or"),
        (["no_such_module:Wrapper"], "wrapper 'no_such_module:Wrapper': cannot import 'no_such_module'"),
        (
            ["test_spaces:Thrice"],
            "wrapper 'test_spaces:Thrice': module 'test_spaces' has no 'Thrice'; did you mean 'test_spaces:Twice'?",
        ),
        ([{"name": "TimeLimit", "steps": 4}], "wrapper TimeLimit with {'steps': 4}: TypeError: "),
    ],
)
def test_wrappers_that_cannot_be(wrappers: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        bx.train("CartPole-v1", "dqn", steps=100, wrappers=wrappers, **TRAIN)
    assert message in str(error.value)


# numbers to scale


def test_the_standardizer_knows_mean_and_variance_of_all_batches() -> None:
    space = (Box((3,)), Box((2, 2, 1), "uint8"), Box(()), Box((4,), "uint8"), Box((2,), "bool"), Discrete(3))
    rng = np.random.default_rng(0)
    batches: list[tuple[Any, ...]] = [
        (
            rng.normal([1_000, -3, 0], [1, 100, 0], (n, 3)).astype(np.float32),
            np.zeros((n, 2, 2, 1), np.uint8),
            rng.random(n).astype(np.float32),
            rng.integers(200, 256, (n, 4)).astype(np.uint8),
            np.zeros((n, 2), np.bool_),
            np.zeros(n, np.int32),
        )
        for n in (1, 5, 64, 200)
    ]
    known = Standardizer(space)
    for batch in batches:
        known = known.seen(jax.tree.map(jnp.asarray, batch))
    assert float(known.count) == 270
    assert len(known.means) == 3  # images, flags and states have a scale already
    for i, part in enumerate((0, 2, 3)):
        whole = np.concatenate([batch[part].astype(np.float64) for batch in batches])
        np.testing.assert_allclose(known.means[i], whole.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(known.variances[i], whole.var(axis=0), rtol=1e-3, atol=1e-6)
    one = [jnp.asarray(part[0]) for part in batches[0]]
    one[0] = jnp.array([1_000.0, 1e9, 0.0])
    numbers, pixels, _, counts, flags, state = known(tuple(one))
    assert (float(numbers[1]), float(numbers[2])) == (10.0, 0.0)  # no number is far away, and what never moved is 0
    assert (pixels.dtype, flags.dtype, state.dtype) == (jnp.uint8, jnp.bool_, jnp.int32)
    whole = np.concatenate([batch[3].astype(np.float64) for batch in batches])
    np.testing.assert_allclose(counts, (batches[0][3][0] - whole.mean(axis=0)) / whole.std(axis=0), rtol=1e-3)


@pytest.mark.parametrize("agent", [bx.DQN, bx.Rainbow])
def test_an_agent_standardizes_by_what_it_learned_from(agent: Any) -> None:
    config = agent(
        normalize_observations=True, weight_averaging=False, batch_size=16, buffer_size=256, net_arch=(8,), n_steps=1
    )
    made = config.make(Box((3,)), 2, 1_000)
    state, memory, key = made.init(make_key(0)), made.memory.init(), make_key(1)
    rng = np.random.default_rng(0)
    add, sample, learn = jax.jit(made.memory.add), jax.jit(made.memory.sample), jax.jit(made.learn)
    seen = []
    for t in range(40):
        obs, next_obs = (rng.normal(50, [1, 7, 0.1], (1, 3)).astype(np.float32) for _ in range(2))
        one, over = np.ones(1, np.float32), np.zeros(1, np.int32)
        memory = add(memory, Experience(Transition(obs, over, one, one, next_obs), over))
        if t >= 10:
            key, sample_key, learn_key = jax.random.split(key, 3)
            batch, weight, _ = sample(memory, sample_key, state.updates)
            seen.append(np.asarray(batch.obs, np.float64))
            state, _ = learn(state, (batch, weight), learn_key)
    named, whole = made.parameters(state), np.concatenate(seen)
    assert named["standardizer.count"] == 16 * 30
    np.testing.assert_allclose(named["standardizer.means.0"], whole.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(named["standardizer.variances.0"], whole.var(axis=0), rtol=1e-3)


def test_a_loaded_policy_sees_what_it_was_trained_on(tmp_path: Path) -> None:
    cues = np.array([1_000, 0], "f4"), np.array([1_001, 0], "f4")  # alike, but for their scale
    world = functools.partial(Cue, native.Box(-np.inf, np.inf, (2,)), cues)
    run = bx.train(world, "dqn", steps=400, normalize_observations=True, out=tmp_path / "run", **TRAIN, **FAST)
    assert run.scores == [5.0]
    policy, obs = bx.load(tmp_path / "run").policy(), np.stack([*cues, cues[0] + 0.3])
    np.testing.assert_array_equal(policy.q_values(obs), run.policy().q_values(obs))
    assert policy.act(obs[:2]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("loop", "scale", "clip"), [("host", 0.125, 0.0), ("host", 1.0, 20.0), ("host", 0.125, 5.0), ("compiled", 4.0, 100)]
)
def test_rewards_are_scaled_and_clipped_in_the_memory_and_not_in_returns(loop: str, scale: float, clip: float) -> None:
    settings = {**FAST, "reward_scale": scale, "reward_clip": clip, "learning_rate": 1e-6}
    about = {**TRAIN, "loop": loop, "keep_experience": True, "steps": 200}
    if loop == "host":
        run = bx.train(functools.partial(Counter, spacing=0), "dqn", **about, **settings)
        (data,) = run.experience
        true = 100 * data.obs[:, 0] + 10 * (data.obs[:, 1] + 1) + data.action
        length = 3 + data.obs[:, 0] % 3
    else:
        run = bx.train("cliff", "dqn", **about, **settings)
        (data,) = run.experience
        true = np.where((data.next_obs == 36) & (data.obs >= 24) & (data.obs != 24), -100.0, -1.0)
        length = None
    expected = true * np.float32(scale)
    expected = np.clip(expected, -clip, clip) if clip else expected
    np.testing.assert_array_equal(np.unique(data.reward), np.unique(expected).astype(np.float32))
    if length is not None:
        np.testing.assert_allclose(data.reward, expected, rtol=1e-6)
        ends = np.flatnonzero(data.obs[:, 1] + 1 == length)
        sums = [part.sum() for part in np.split(true, ends + 1)[:-1]]
        np.testing.assert_allclose(run.episodes[0].returns, sums)
