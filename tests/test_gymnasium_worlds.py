"""Host worlds: every transition against one computed by hand, and every fault with its message."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from worlds import Bad, Counter, Ends, Spaces

from bellmax import contracts
from bellmax.contracts import ConfigError, EnvContractError, EnvCrashed, NonFiniteError
from bellmax.envs.host_world import HostWorld, open_world

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


class Row(NamedTuple):
    obs: tuple[float, ...]
    action: int
    reward: float
    next_obs: tuple[float, ...]
    terminated: bool
    truncated: bool


def reference(seed: int, actions: list[int], start: int = 0, length: int = 3) -> list[Row]:
    """What `Counter` does, from its definition and not from its code."""
    rows: list[Row] = []
    episode, time, last = 10 * seed, 0, 0
    for action in actions:
        seen = action + start
        obs, next_obs = (episode, time, last), (episode, time + 1, seen)
        over = time + 1 == length + episode % 3
        rows.append(
            Row(
                obs,
                action,
                100 * episode + 10 * (time + 1) + seen,
                next_obs,
                over and episode % 4 in (0, 2, 3),
                over and episode % 4 in (1, 3),
            )
        )
        episode, time, last = (episode + 1, 0, 0) if over else (episode, time + 1, seen)
    return rows


def play(world: HostWorld, steps: int, seed: int = 1) -> list[list[Row]]:
    """The valid rows of each world, read only after the last step, so that reused arrays would show."""
    draws = np.random.default_rng(0).integers(world.n_actions, size=(steps, world.n))
    first = world.reset(seed)
    taken = [world.step(actions) for actions in draws]
    befores = [first, *(step.obs for step in taken)]
    streams: list[list[Row]] = [[] for _ in range(world.n)]
    for obs, actions, step in zip(befores, draws, taken, strict=False):
        assert step.obs.shape == step.next_obs.shape == obs.shape
        assert step.obs.dtype == step.next_obs.dtype == obs.dtype
        assert step.reward.dtype == np.float32
        assert step.terminated.dtype == step.truncated.dtype == step.valid.dtype == np.bool_
        for i in range(world.n):
            if step.valid[i]:
                pair = tuple(np.atleast_1d(o[i]).tolist() for o in (obs, step.next_obs))
                flags = bool(step.terminated[i]), bool(step.truncated[i])
                streams[i].append(Row(tuple(pair[0]), int(actions[i]), float(step.reward[i]), tuple(pair[1]), *flags))
            else:
                assert not step.terminated[i]
                assert not step.truncated[i]
                assert step.reward[i] == 0
    return streams


def check_counter(world: HostWorld, steps: int = 100, start: int = 0) -> list[list[Row]]:
    streams = play(world, steps)
    for i, stream in enumerate(streams):
        assert stream == reference(1 + i, [row.action for row in stream], start)
    ends = {(row.terminated, row.truncated) for stream in streams for row in stream}
    assert ends == {(False, False), (True, False), (False, True), (True, True)}
    return streams


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_plain_environments_reset_at_once_and_waste_no_step(n: int, reuse: bool) -> None:
    world = open_world(Counter, n=n, env_kwargs={"reuse": reuse})
    assert (world.name, world.n, world.n_actions, world.max_episode_steps) == ("Counter", n, 2, None)
    assert world.observation_space == contracts.Box((3,), "float32")
    assert all(len(stream) == 100 for stream in check_counter(world))


@pytest.mark.parametrize(
    ("mode", "reuse"),
    [*((mode, False) for mode in MODES), (AutoresetMode.NEXT_STEP, True), (AutoresetMode.DISABLED, True)],
)
def test_vector_environments_in_every_autoreset_mode(mode: AutoresetMode, reuse: bool) -> None:
    env = SyncVectorEnv([functools.partial(Counter, reuse=reuse)] * 3, copy=False, autoreset_mode=mode)
    world = open_world(env)
    assert world.n == 3
    streams = check_counter(world)
    for stream in streams:  # NEXT_STEP: one dead step after each end, but for an end at the very last step
        ends = sum(row.terminated or row.truncated for row in stream)
        assert 100 - len(stream) in ((ends, ends - 1) if mode is AutoresetMode.NEXT_STEP else (0,))
    world.close()


def test_worker_processes_in_same_step_mode() -> None:
    env = AsyncVectorEnv([Counter] * 2, autoreset_mode=AutoresetMode.SAME_STEP, context="forkserver")
    world = open_world(env)
    check_counter(world, steps=60)
    world.close()


@pytest.mark.parametrize("mode", [None, *MODES])
def test_actions_that_do_not_start_at_zero(mode: AutoresetMode | None) -> None:
    make = functools.partial(Counter, start=3)
    world = open_world(make(3) if mode is None else SyncVectorEnv([make] * 2, autoreset_mode=mode))
    assert world.n_actions == 2
    check_counter(world, start=3)


def test_discrete_observations_count_from_zero_and_numpy_scalars_are_taken() -> None:
    world = open_world(Ends(resets=9))
    assert world.observation_space == contracts.Discrete(4)
    assert world.reset(0).tolist() == [0]
    step = world.step([0])
    assert step.obs.dtype == step.next_obs.dtype == np.int32
    assert (step.obs.tolist(), step.next_obs.tolist(), step.reward.tolist()) == ([0], [3], [0.5])
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([True], [False])


@pytest.mark.parametrize("mode", MODES)
def test_discrete_observations_in_vector_environments(mode: AutoresetMode) -> None:
    world = open_world(SyncVectorEnv([functools.partial(Ends, 99)] * 2, autoreset_mode=mode))
    rows = play(world, 20)[0]
    assert set(rows) == {Row((0,), 0, 0.5, (3,), True, False)}
    assert len(rows) == (10 if mode is AutoresetMode.NEXT_STEP else 20)


def test_cartpole_gives_gymnasiums_own_stream() -> None:
    world, env = open_world("CartPole-v1", env_kwargs={"max_episode_steps": 15}), gym.make("CartPole-v1")
    assert (world.name, world.n_actions, world.max_episode_steps) == ("CartPole-v1", 2, 15)
    rows = play(world, 300, seed=5)[0]
    obs, time = env.reset(seed=5)[0], 0
    for row in rows:
        next_obs, reward, terminated, _, _ = env.step(row.action)
        time += 1
        truncated = time == 15
        assert row == Row(tuple(obs.tolist()), row.action, reward, tuple(next_obs.tolist()), terminated, truncated)
        obs, time = (env.reset()[0], 0) if terminated or truncated else (next_obs, time)
    assert {(row.terminated, row.truncated) for row in rows} >= {(True, False), (False, True)}


def test_cartpoles_vector_entry_point() -> None:
    """Its own stream from the same seed, with the dead steps taken out by hand."""
    world = open_world("CartPole-v1", n=4, env_kwargs={"max_episode_steps": 15})
    assert (world.name, world.n, world.max_episode_steps) == ("CartPole-v1", 4, 15)
    streams = play(world, 200, seed=3)
    env = gym.make_vec("CartPole-v1", 4, "vector_entry_point", max_episode_steps=15)
    draws = np.random.default_rng(0).integers(2, size=(200, 4))
    obs, over = env.reset(seed=3)[0], np.zeros(4, bool)
    expected: list[list[Row]] = [[] for _ in range(4)]
    for actions in draws:
        next_obs, reward, terminated, truncated, _ = env.step(actions)
        for i in np.flatnonzero(~over):
            pair = tuple(obs[i].tolist()), tuple(next_obs[i].tolist())
            flags = bool(terminated[i]), bool(truncated[i])
            expected[i].append(Row(pair[0], int(actions[i]), float(reward[i]), pair[1], *flags))
        obs, over = next_obs, terminated | truncated
    assert streams == expected
    assert all(row.truncated or row.terminated or row.reward == 1 for row in streams[0])
    assert len(streams[0]) < 200


def test_later_resets_continue_the_random_stream_and_reset_starts_it_anew() -> None:
    world = open_world("CartPole-v1", n=1)
    first, again, other = play(world, 100, seed=2), play(world, 100, seed=2), play(world, 100, seed=4)
    assert first == again != other
    starts = [row.obs for row, last in zip(first[0][1:], first[0], strict=False) if last.terminated]
    assert len(set(starts)) == len(starts) > 1


def test_arrays_given_away_never_change() -> None:
    world = open_world(Counter, env_kwargs={"reuse": True})
    world.reset(1)
    steps = [world.step([0]) for _ in range(10)]
    copies = [type(step)(*(array.copy() for array in step)) for step in steps]
    for _ in range(10):
        world.step([1])
    for step, copy in zip(steps, copies, strict=True):
        for array, expected in zip(step, copy, strict=True):
            np.testing.assert_array_equal(array, expected)
    with pytest.raises(ValueError, match="read-only"):
        steps[0].valid[0] = False


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float64, np.bool_, list])
def test_what_the_space_can_hold_is_taken(dtype: Any) -> None:
    space_dtype = np.uint8 if dtype in (np.uint8, np.bool_) else np.float32
    value: Any = [1.0, 0.0] if dtype is list else np.array([1, 0], dtype)
    world = open_world(Bad("obs", value, space=Box(0, 255, (2,), space_dtype)))
    world.reset(0)
    for _ in range(4):
        step = world.step([0])
        assert step.obs.dtype == space_dtype


@pytest.mark.parametrize("shape", [(2,), (2, 3), (40,)])
@pytest.mark.parametrize("vector", [False, True])
def test_large_but_finite_numbers_pass_in_silence(shape: tuple[int, ...], vector: bool) -> None:
    large = np.full(shape, 3e38, np.float32)
    make = functools.partial(Bad, "obs", large, 1, Box(-np.inf, np.inf, shape))
    world = open_world(SyncVectorEnv([make]) if vector else make())
    world.reset(0)
    np.testing.assert_array_equal(world.step([0]).obs[0], large)


@pytest.mark.parametrize("vector", [False, True])
def test_the_entry_of_an_image_that_is_not_finite_is_named(vector: bool) -> None:
    wrong = np.array([[0, 1, 2], [3, 4, np.inf]], np.float32)
    make = functools.partial(Bad, "obs", wrong, 3, Box(-np.inf, np.inf, (2, 3)))
    error = fail(open_world(SyncVectorEnv([make]) if vector else make()))
    assert str(error) == f"{AT}observation[1][2] is inf{FINITE}the observation in a wrapper"


NAN, INF = float("nan"), float("inf")
AT = "Bad: environment 0, episode 1, step 3, action 2: "
FINITE = ", not a finite float32; repair the environment, or bound "
RETURN = "; return what Gymnasium's interface requires"
AGREE = "; make the two agree"
BOX2 = "but the observation space is Box(-inf, inf, (2,), float32)"
OLD = (
    "the interface before Gymnasium 0.26 was (obs, reward, done, info): return (obs, reward, terminated, "
    "truncated, info), or wrap the environment with shimmy's GymV21CompatibilityV0"
)
FAULTS: dict[str, tuple[str, Any, type[Exception], str]] = {
    "NaN reward": ("reward", NAN, NonFiniteError, f"reward is nan{FINITE}the reward in a wrapper"),
    "inf reward": ("reward", np.float32(INF), NonFiniteError, f"reward is inf{FINITE}the reward in a wrapper"),
    "huge reward": ("reward", -1e39, NonFiniteError, f"reward is -1e+39{FINITE}the reward in a wrapper"),
    "None reward": ("reward", None, EnvContractError, f"reward is None (NoneType), not a number{RETURN}"),
    "reward of shape (1,)": (
        "reward",
        np.array([1.0]),
        EnvContractError,
        f"reward is array([1.]) (ndarray of shape (1,) and dtype float64), not a number{RETURN}",
    ),
    "terminated 1": ("terminated", 1, EnvContractError, f"terminated is 1 (int), not True or False{RETURN}"),
    "truncated None": (
        "truncated",
        None,
        EnvContractError,
        f"truncated is None (NoneType), not True or False{RETURN}",
    ),
    "terminated of shape (1,)": (
        "terminated",
        np.array([True]),
        EnvContractError,
        f"terminated is array([ True]) (ndarray of shape (1,) and dtype bool), not True or False{RETURN}",
    ),
    "info None": ("info", None, EnvContractError, f"info is None (NoneType), not a dict{RETURN}"),
    "NaN observation": (
        "obs",
        np.array([0, NAN], np.float32),
        NonFiniteError,
        f"observation[1] is nan{FINITE}the observation in a wrapper",
    ),
    "inf observation": (
        "obs",
        np.array([-INF, 0], np.float32),
        NonFiniteError,
        f"observation[0] is -inf{FINITE}the observation in a wrapper",
    ),
    "float64 beyond float32": (
        "obs",
        np.array([1e39, 0]),
        NonFiniteError,
        f"observation[0] is 1e+39{FINITE}the observation in a wrapper",
    ),
    "wrong shape": (
        "obs",
        np.zeros((2, 1), np.float32),
        EnvContractError,
        f"observation is ndarray of shape (2, 1) and dtype float32, {BOX2}{AGREE}",
    ),
    "ragged list": ("obs", [[1.0], [1.0, 2.0]], EnvContractError, f"observation is list, {BOX2}{AGREE}"),
    "complex": (
        "obs",
        np.zeros(2, np.complex64),
        EnvContractError,
        f"observation is ndarray of shape (2,) and dtype complex64, {BOX2}{AGREE}",
    ),
    "None": (
        "obs",
        None,
        EnvContractError,
        f"observation is NoneType of shape () and dtype object, {BOX2}{AGREE}",
    ),
    "old step": (
        "answer",
        (np.zeros(2), 1.0, False, {}),
        EnvContractError,
        f"step returned 4 values, not 5; {OLD}",
    ),
    "no tuple": ("answer", None, EnvContractError, f"step returned NoneType, not 5; {OLD}"),
    "crash": (
        "raise",
        ValueError("boom"),
        EnvCrashed,
        "step raised ValueError: boom; seed 7, last actions [0, 1, 2]",
    ),
}


def run(world: HostWorld, actions: list[int]) -> None:
    world.reset(7)
    for action in actions:
        world.step([action] * world.n)


def fail(world: HostWorld, *actions: int) -> Exception:
    with pytest.raises(contracts.BellmaxError) as caught:
        run(world, list(actions or (0, 1, 2)))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_an_error_at_its_step(case: str) -> None:
    field, wrong, kind, message = FAULTS[case]
    error = fail(open_world(Bad(field, wrong)))
    assert type(error) is kind
    assert str(error) == AT + message
    assert error.__cause__ is (wrong if kind is EnvCrashed else None)


def test_the_world_at_fault_is_named() -> None:
    faults = iter([9, 9, 3])
    error = fail(open_world(lambda: Bad("reward", NAN, at=next(faults)), n=3))
    assert str(error).startswith("Bad: environment 2, episode 1, step 3, action 2: reward is nan")


@pytest.mark.parametrize("mode", MODES)
def test_faults_in_vector_environments(mode: AutoresetMode) -> None:
    def error(field: str, wrong: Any) -> Exception:
        good, bad = functools.partial(Bad, field, wrong, 99), functools.partial(Bad, field, wrong)
        return fail(open_world(SyncVectorEnv([good, bad], autoreset_mode=mode)))

    nan = error("reward", NAN)
    assert type(nan) is NonFiniteError
    assert str(nan) == f"Bad: environment 1, episode 1, step 3, action 2: reward is nan{FINITE}the reward in a wrapper"
    inf = error("obs", np.array([0, INF], np.float32))
    assert type(inf) is NonFiniteError
    assert str(inf).startswith("Bad: environment 1, episode 1, step 3, action 2: observation[1] is inf")
    crash = error("raise", KeyError("boom"))
    assert type(crash) is EnvCrashed
    assert type(crash.__cause__) is KeyError
    assert str(crash) == (
        "Bad: 2 environments, step 3 since reset(seed): step raised KeyError: 'boom'; seed 7, "
        "last actions [[0, 0], [1, 1], [2, 2]]"
    )


class Broken(gym.vector.VectorEnv):
    """A vector environment that returns what it is told."""

    num_envs = 2
    single_observation_space, single_action_space = Box(-1, 1, (2,)), Discrete(3)

    def __init__(self, mode: Any = AutoresetMode.NEXT_STEP, **wrong: Any) -> None:
        self.metadata = {} if mode is None else {"autoreset_mode": mode}
        self.wrong = wrong

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 2), np.float32), {}

    def step(self, actions: Any) -> Any:
        none = np.zeros(2, bool)
        answer = {"obs": np.zeros((2, 2)), "reward": np.ones(2), "terminated": none, "truncated": none, "info": {}}
        return tuple((answer | self.wrong).values())


ALL = "Broken: 2 environments, step 1 since reset(seed): "


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"obs": np.zeros(2)},
            f"{ALL}observation is ndarray of shape (2,) and dtype float64, but the observation space is "
            "Box(-1.0, 1.0, (2,), float32) for each environment; make the two agree",
        ),
        ({"reward": 1.0}, f"{ALL}reward is 1.0 (float), not 2 numbers{RETURN}"),
        (
            {"truncated": np.zeros(2)},
            f"{ALL}truncated is array([0., 0.]) (ndarray of shape (2,) and dtype float64), not 2 flags (True or "
            f"False){RETURN}",
        ),
        (
            {"mode": AutoresetMode.SAME_STEP, "terminated": np.array([False, True])},
            "Broken: environment 1, episode 1, step 1, action 0: the episode ended, but info['final_obs'] has no "
            "observation; SAME_STEP mode must give the final one there: use AutoresetMode.NEXT_STEP or DISABLED",
        ),
    ],
)
def test_broken_vector_environments(wrong: dict[str, Any], message: str) -> None:
    error = fail(open_world(Broken(**wrong)))
    assert type(error) is EnvContractError
    assert str(error) == message


@pytest.mark.parametrize(("mode", "shown"), [(None, "None"), ("now", "'now'")])
def test_an_unknown_autoreset_mode_is_refused(mode: Any, shown: str) -> None:
    with pytest.raises(EnvContractError) as caught:
        open_world(Broken(mode))
    assert str(caught.value) == (
        f"Broken: metadata['autoreset_mode'] is {shown}; with a wrong one, ends of episodes would be learned "
        "wrongly: set it to one of AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED"
    )


def test_an_overwritten_final_observation_is_refused() -> None:
    make = functools.partial(Counter, reuse=True)
    error = fail(open_world(SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)), 0, 1, 0, 1)
    assert str(error) == (
        "Counter: environment 0, episode 1, step 4, action 1: the environment reuses its observation "
        "array, so in SAME_STEP "
        "mode its reset overwrote the final observation: return copies, or use AutoresetMode.NEXT_STEP"
    )


def test_four_values_under_a_time_limit() -> None:
    """The wrapper unpacks them first, and fails."""
    wrapped = gym.wrappers.TimeLimit(Bad("answer", (np.zeros(2), 1.0, False, {})), 9)
    world = open_world(wrapped)
    assert world.max_episode_steps == 9
    error = fail(world)
    assert type(error) is EnvContractError
    assert str(error) == f"{AT}step returned 4 values, not 5; {OLD}"


@pytest.mark.parametrize("value", [5, -1, 2**40, np.int64(5)])
def test_a_discrete_observation_outside_its_space(value: int) -> None:
    error = fail(open_world(Bad("obs", value, space=Discrete(4, start=1))))
    assert type(error) is EnvContractError
    assert str(error) == (
        f"{AT}observation {value} is outside Discrete(4, start=1); return 1 to 4, or declare a larger space"
    )


@pytest.mark.parametrize("value", [True, 1.0, np.float32(1), np.array([1])])
def test_a_discrete_observation_that_is_no_integer(value: Any) -> None:
    error = fail(open_world(Bad("obs", value, space=Discrete(4))))
    assert type(error) is EnvContractError
    assert str(error).startswith(f"{AT}observation is {type(value).__name__} of shape ")


def test_floats_for_an_image_of_bytes() -> None:
    error = fail(open_world(Bad("obs", np.zeros(2, np.float32), space=Box(0, 255, (2,), np.uint8))))
    assert str(error) == (
        f"{AT}observation is ndarray of shape (2,) and dtype float32, but the observation space is "
        "Box(0, 255, (2,), uint8); make the two agree"
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_floats_for_integers(dtype: Any) -> None:
    class Grid(gym.Env[Any, Any]):
        observation_space, action_space = gym.spaces.Box(-3, 3, (2,), np.int16), gym.spaces.Discrete(2)
        step_size = 1.0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.at = np.array([-1.0, 2.0], dtype)
            return self.at, {}

        def step(self, action: int) -> Any:
            self.at = self.at + np.array([self.step_size, 0], dtype)
            return self.at, 0.0, False, False, {}

    class Half(Grid):
        step_size = 0.5

    world = open_world(Grid, n=1)
    assert world.reset(0).tolist() == [[-1, 2]]
    assert world.step(np.zeros(1, np.int64)).obs.tolist() == [[0, 2]]
    world = open_world(Half, n=1)
    world.reset(0)
    with pytest.raises(EnvContractError, match=r"step 1, .*observation holds -0.5, but .*return whole numbers"):
        world.step(np.zeros(1, np.int64))


@pytest.mark.parametrize("space", [gym.spaces.Box(0, 255, (2,), np.uint8), gym.spaces.MultiDiscrete([3, 4])])
def test_the_first_observation_of_floats_is_checked_as_well(space: Any) -> None:
    class Floats(gym.Env[Any, Any]):
        observation_space, action_space = space, gym.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return np.array([0.9, 1.9]), {}

    with pytest.raises(EnvContractError, match=r"dtype float64.*make the two agree"):
        open_world(Floats, n=1).reset(0)


def test_faults_at_reset() -> None:
    world = open_world(Bad("reset", np.zeros(2)))
    with pytest.raises(EnvContractError) as caught:
        world.reset(7)
    assert str(caught.value) == f"Bad: environment 0, episode 1, reset: reset returned ndarray, not (obs, info); {OLD}"
    world = open_world(Bad("reset", (np.array([NAN, 0], np.float32), {})))
    with pytest.raises(NonFiniteError, match=re.escape("environment 0, episode 1, reset: observation[0] is nan")):
        world.reset(7)
    world = open_world(Ends(), n=1)
    world.reset(7)
    with pytest.raises(EnvCrashed) as crashed:
        world.step([0])
    assert str(crashed.value) == (
        "Ends: environment 0, episode 2, reset: reset raised OSError: no more; seed 7, last actions [0]"
    )


def test_only_the_last_twenty_actions_are_shown() -> None:
    error = fail(open_world(Bad("raise", ValueError("boom"), at=30)), *(t % 3 for t in range(30)))
    assert str(error).endswith(f"seed 7, last actions {[t % 3 for t in range(10, 30)]}")


def test_actions_of_the_wrong_shape() -> None:
    world = open_world(Counter, n=2)
    world.reset(0)
    with pytest.raises(ValueError, match=re.escape("Counter: actions of shape (1,) for 2 environments")):
        world.step([0])


def missing(**kwargs: Any) -> Any:
    raise gym.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')


def broken() -> Any:
    raise RuntimeError("boom")


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "action space": (
        lambda: open_world("Pendulum-v1"),
        "Pendulum-v1: action space Box(-2.0, 2.0, (1,), float32) is not Discrete; bellmax chooses among finitely "
        "many actions: give wrappers=[{'name': 'DiscretizeAction', 'bins': 5}], on the command line --wrapper "
        """'{"name": "DiscretizeAction", "bins": 5}', for 5 actions, 5 values in each dimension""",
    ),
    "several actions": (
        lambda: open_world(Spaces(Discrete(2), MultiDiscrete([100, 100]))),
        "Spaces: action space MultiDiscrete([100 100]) has 10,000 combinations, and bellmax gives each a value (up to "
        "4,096): wrap the environment to offer fewer",
    ),
    "observation space": (
        lambda: open_world(Spaces(Dict(a=Sequence(Discrete(2))), Discrete(2))),
        "Spaces: observation space Dict('a': Sequence(Discrete(2), stack=False)) has a part Sequence(Discrete(2), "
        "stack=False), which is none of Box, Discrete, MultiBinary, MultiDiscrete, Dict and Tuple; wrap the "
        "environment to turn it into one of them",
    ),
    "too many states": (
        lambda: open_world(Spaces(Discrete(2**40), Discrete(2))),
        "Spaces: observation space Discrete(1099511627776) has too many states to number in int32",
    ),
    "unknown id": (
        lambda: open_world("CartPol-v1"),
        "unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'?",
    ),
    "unknown version": (
        lambda: open_world("Acrobot-v7", n=2),
        "unknown environment 'Acrobot-v7'; did you mean 'Acrobot-v1'? (Gymnasium "
        f"{gym.__version__} does not have this version)",
    ),
    "unknown namespace": (
        lambda: open_world("Nowhere/Pong-v5"),
        "unknown environment 'Nowhere/Pong-v5'; no package has registered 'Nowhere': install it and give "
        "'package:Nowhere/Pong-v5', so that it is imported",
    ),
    "unknown module": (
        lambda: open_world("no_such_package:Pong-v5"),
        "'no_such_package:Pong-v5': cannot import 'no_such_package': No module named 'no_such_package'",
    ),
    "unknown id of a module": (
        lambda: open_world("gymnasium:CartPol-v1"),
        "unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'?",
    ),
    "missing dependency": (
        lambda: open_world(missing),
        'missing: missing dependency: Box2D is not installed, run `pip install "gymnasium[box2d]"`',
    ),
    "bad arguments": (
        lambda: open_world(Counter, env_kwargs={"lenght": 3}),
        "Counter: cannot be made with env_kwargs {'lenght': 3}: TypeError: Counter.__init__() got an unexpected "
        "keyword argument 'lenght'; did you mean 'length'?",
    ),
    "arguments too late": (
        lambda: open_world(Counter(), env_kwargs={"length": 3}),
        "Counter: it exists already, so env_kwargs ['length'] come too late; pass its class",
    ),
    "one for many": (
        lambda: open_world(Counter(), n=2),
        "Counter: one environment cannot be 2 environments; pass its class or id",
    ),
    "other n": (
        lambda: open_world(SyncVectorEnv([Counter] * 2), n=3),
        "Counter: n is 3, but this vector has 2 environments",
    ),
    "n": (lambda: open_world(Counter, n=0), "`n` must be a positive integer; got 0"),
    "no world": (
        lambda: open_world(7),  # type: ignore[arg-type]
        "7 is not an environment; give a Gymnasium id, a gymnasium.Env, a gymnasium.vector.VectorEnv, or a callable "
        "that makes one",
    ),
    "no environment": (
        lambda: open_world(dict),
        "dict: is a builtins.dict, not a gymnasium.Env; derive it from gymnasium.Env, or wrap an old gym "
        "environment with shimmy",
    ),
    "different worlds": (
        lambda: open_world(iter([Counter(), Counter(start=2)]).__next__, n=2),
        "Counter: environments with different spaces; make all Box(-inf, inf, (3,), float32)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused_at_once(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_bad_arguments_of_an_id_and_a_constructor_that_raises() -> None:
    for n in (1, 2):
        with pytest.raises(ConfigError, match=r"^CartPole-v1: cannot be made with env_kwargs {'gravity': 1}: TypeE"):
            open_world("CartPole-v1", n=n, env_kwargs={"gravity": 1})
    with pytest.raises(EnvCrashed, match=r"^broken: its constructor raised RuntimeError: boom$"):
        open_world(broken)


def test_ids_with_a_module_time_limits_and_no_vector_entry_point() -> None:
    assert open_world("gymnasium:Acrobot-v1").name == "Acrobot-v1"
    world = open_world("FrozenLake-v1", n=3, env_kwargs={"is_slippery": False})
    assert (world.n, world.n_actions, world.max_episode_steps) == (3, 4, 100)
    assert world.observation_space == contracts.Discrete(16)
    assert all(len(stream) == 150 for stream in play(world, 150))
    vector = SyncVectorEnv([lambda: gym.make("Taxi-v4", max_episode_steps=5)] * 2)
    assert open_world(vector).max_episode_steps == 5
    world.close()
