"""The table of faults, rows 21 to 37: what an environment does wrong, and what is said and done about it.

One test, or a few, for each row, under its number.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from saved import newest
from worlds import Bad, Counter, Ends, Hiccup

import bellmax as bx
from bellmax.contracts import (
    ConfigError,
    EnvContractError,
    EnvCrashed,
    EnvTimeout,
    EnvWarning,
    NonFiniteError,
)
from bellmax.envs import in_process, positions
from bellmax.envs.host_world import Handling, open_world
from bellmax.loops.choosing import make_loop
from bellmax.sources import find_world

NAN, INF = math.nan, math.inf
SMALL: dict[str, Any] = {
    "net_arch": (8,), "batch_size": 8, "learning_starts": 16, "buffer_size": 500, "learning_rate": 1e-5,
}  # fmt: skip
TRAIN: dict[str, Any] = {"loop": "host", "eval_episodes": 0, "final_episodes": 0, "records": 4, "progress": False}
FINITE = ", not a finite float32; repair the environment, or bound "
RETURN = "; return what Gymnasium's interface requires"
AGREE = "; make the two agree"
OLD = (
    "the interface before Gymnasium 0.26 was (obs, reward, done, info): return (obs, reward, terminated, "
    "truncated, info), or wrap the environment with shimmy's GymV21CompatibilityV0"
)


def train(world: Any, agent: str = "dqn", steps: int = 80, **kwargs: Any) -> bx.Run:
    return bx.train(world, agent, steps=steps, **{**TRAIN, **(SMALL if agent == "dqn" else {}), **kwargs})


def says(error: pytest.ExceptionInfo[Any], message: str) -> None:
    """The message, in which ACTION stands for any."""
    assert re.fullmatch(re.escape(message).replace("ACTION", "[0-9]+"), str(error.value)), str(error.value)


def remember(world: Any, steps: int, handling: Handling, **settings: Any) -> tuple[bx.Dataset, int]:
    """What the replay memory holds after so many steps of the real loop, and how many were left out."""
    config = bx.DQN(**{**SMALL, **settings})
    source = find_world(world, None, handling)
    loop = make_loop(config, source, "host", steps)
    run = loop.start([0])
    run, (chunk,) = loop.advance(run, 0, steps)
    (data,) = loop.experience(run)
    dropped = run.world.dropped
    assert all(map(math.isfinite, chunk.metrics.values()))
    assert np.isfinite([*chunk.episodes.returns]).all()
    loop.close(run)
    return data, dropped


def follows_the_rule(data: bx.Dataset, length: int) -> None:
    """Every row is a step that the counter took, and no number in it is a wrong one."""
    for t in range(data.steps):
        (episode, time, _), action = data.obs[t], data.action[t]
        assert data.next_obs[t].tolist() == [episode, time + 1, action]
        assert data.reward[t] == 100 * episode + 10 * (time + 1) + action
        over = time + 1 == length + episode % 3
        assert data.terminated[t] == (over and episode % 4 in (0, 2, 3))
    before = ~(data.terminated | data.truncated)[:-1]
    np.testing.assert_array_equal(data.obs[1:][before], data.next_obs[:-1][before])


# 21 to 24: numbers that are none


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("reward", NAN, "reward is nan, not a finite float32; repair the environment, or bound the reward"),
        ("reward", -INF, "reward is -inf, not a finite float32; repair the environment, or bound the reward"),
        ("reward", 1e39, "reward is 1e+39, not a finite float32; repair the environment, or bound the reward"),
        ("obs", NAN, "observation[0] is nan, not a finite float32; repair the environment, or bound the observation"),
        ("obs", INF, "observation[0] is inf, not a finite float32; repair the environment, or bound the observation"),
    ],
    ids=["21 NaN reward", "22 inf reward", "22 beyond float32", "23 NaN observation", "24 inf observation"],
)
def test_21_to_24_not_finite_is_an_error_at_its_step(field: str, wrong: float, message: str, tmp_path: Path) -> None:
    """Before it enters the memory; what was learned before is saved."""
    world = functools.partial(Hiccup, field, wrong, 2, episodes=[20], length=3)
    for workers in (0, 1) if message.startswith("reward is nan") else (0,):
        out = tmp_path / str(workers)
        with pytest.raises(NonFiniteError) as error:
            train(world, "dqn", 200, out=out, workers=workers)
        says(error, f"Hiccup: environment 0, episode 21, step 2, action ACTION: {message} in a wrapper")
        policy = bx.load(out).policy()
        assert np.isfinite(policy.q_values(np.zeros(3, np.float32))).all()
    make = functools.partial(Hiccup, field, wrong, 2, episodes=[30], length=3)  # the second world begins with 10
    vector = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(NonFiniteError, match=r"^Hiccup: environment 1, episode 21, step 2, action [01]: "):
        train(vector, "dqn", 400, num_envs=2)


class Chatty(Hiccup):
    """It says more in its infos than a reward."""

    def step(self, action: Any) -> tuple[Any, ...]:
        *rest, info = super().step(action)
        return *rest, {**info, "wind": 3.0, "fuel": np.zeros(2)}


@pytest.mark.parametrize("mode", [None, AutoresetMode.NEXT_STEP])
def test_21_the_message_names_what_the_info_has(mode: AutoresetMode | None) -> None:
    make = functools.partial(Chatty, "reward", NAN, 2, length=3)
    world = SyncVectorEnv([make], autoreset_mode=mode) if mode else make
    with pytest.raises(NonFiniteError) as error:
        train(world, "dqn", 200)
    keys = "_fuel, _wind, fuel, wind" if mode else "fuel, wind"
    message = "reward is nan, not a finite float32; repair the environment, or bound the reward in a wrapper"
    says(error, f"Chatty: environment 0, episode 1, step 2, action ACTION: {message}; its info has {keys}")


def test_21_a_reset_is_told_with_its_own_info() -> None:
    """And not with that of the step before it."""

    class Lost(Chatty):
        def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            obs, _ = super().reset(**kwargs)
            self.resets = getattr(self, "resets", 0) + 1
            return (obs * NAN if self.resets == 2 else obs), {"level": self.resets}

    with pytest.raises(NonFiniteError) as error:
        train(functools.partial(Lost, "none", None, 0, length=3), "dqn", 200)
    message = (
        "observation[0] is nan, not a finite float32; repair the environment, or bound the observation in a wrapper"
    )
    says(error, f"Lost: environment 0, episode 2, reset: {message}; its info has level")


@pytest.mark.parametrize(
    ("field", "wrong", "workers"),
    [("reward", NAN, 0), ("reward", INF, 1), ("obs", NAN, 1), ("obs", INF, 0)],
    ids=["21 NaN reward", "22 inf reward", "23 NaN observation", "24 inf observation"],
)
def test_21_to_24_the_episode_is_cut_or_the_step_left_out(field: str, wrong: float, workers: int) -> None:
    """Step 3 of every episode of 5, 6, 7, 5, ... steps is bad."""
    world = functools.partial(Hiccup, field, wrong, 3, length=5)
    data, dropped = remember(world, 120, Handling(workers=workers, on_nonfinite="truncate_episode"))
    assert (data.steps, dropped) == (80, 40)
    follows_the_rule(data, 5)
    assert data.truncated.tolist() == [False, True] * 40
    assert set(data.obs[:, 1]) == {0, 1}

    data, dropped = remember(world, 120, Handling(workers=workers, on_nonfinite="skip"))
    assert data.steps + dropped == 120
    follows_the_rule(data, 5)
    # a reward that is lost takes its own step; an observation that is lost, its own and the one that begins with it
    missing = {2} if field == "reward" else {2, 3}
    assert set(data.obs[:, 1]) == set(range(7)) - missing
    assert dropped == 20 * len(missing)  # in 120 steps of episodes of 6 on average
    last_before = data.obs[:, 1] == 1
    assert data.truncated[last_before].all()  # n-step sums do not cross the gap


def test_21_to_24_the_choices_have_names_and_need_plain_environments() -> None:
    with pytest.raises(ConfigError) as error:
        train(Counter, on_nonfinite="skipp")
    says(error, "unknown on_nonfinite 'skipp'; did you mean 'skip'?")
    with pytest.raises(ConfigError) as error:
        train(lambda: SyncVectorEnv([Counter]), on_nonfinite="skip")
    says(
        error,
        "Counter: on_nonfinite='skip' needs plain environments, each of which can be reset; a vector environment "
        "resets itself: give its id or class instead",
    )


@pytest.mark.parametrize("mode", [None, AutoresetMode.NEXT_STEP])
def test_22_a_huge_reward_is_remarked_once(mode: AutoresetMode | None) -> None:
    make = functools.partial(Hiccup, "reward", 1e38, 2, length=3)
    world = open_world(make if mode is None else SyncVectorEnv([make], autoreset_mode=mode))
    world.reset(0)
    world.step([0])
    with pytest.warns(EnvWarning) as warned:
        step = world.step([1])
    assert [str(one.message) for one in warned] == [
        "Hiccup: environment 0, episode 1, step 2, action 1: reward is 1e+38, the largest so far, and "
        "networks hardly learn "
        "from rewards above 1e+06; give reward_scale or reward_clip, or scale it in a wrapper (said once)"
    ]
    assert step.reward.tolist() == [np.float32(1e38)]
    for _ in range(20):
        world.step([1])  # no warning: it would be an error here
    world.close()


# 25: outside the space


@pytest.mark.parametrize("value", [4, -1, 2**31])
def test_25_a_state_outside_its_space_is_an_error_always(value: int) -> None:
    world = functools.partial(Bad, "obs", value, 3, Discrete(4))
    for agent in ("dqn", "q-learning"):
        with pytest.raises(EnvContractError) as error:
            train(world, agent)
        says(
            error,
            f"Bad: environment 0, episode 1, step 3, action ACTION: observation {value} is outside "
            "Discrete(4); return 0 to "
            "3, or declare a larger space",
        )


def test_25_an_observation_outside_its_box_is_remarked_once_or_an_error() -> None:
    wrong = np.array([0, 1.5], np.float32)
    world = functools.partial(Bad, "obs", wrong, 3, Box(-1, 1, (2,)))
    message = (
        "Bad: environment 0, episode 1, step 3, action ACTION: observation[1] is 1.5, outside -1 to 1; "
        "declare a larger "
        "space, or clip in a wrapper"
    )
    with pytest.warns(EnvWarning, match=r"outside -1 to 1.*said once") as warned:
        train(world)
    assert len(warned) == 1
    with pytest.raises(EnvContractError) as error:
        train(world, strict=True)
    says(error, message)
    bent = functools.partial(Bad, "obs", np.array([0, 1.000001], np.float32), 3, Box(-1, 1, (2,)))
    train(bent, strict=True)  # a rounding is no break


# 26: types and shapes


@pytest.mark.parametrize(
    ("space", "given", "taken"),
    [
        (Box(-9, 9, (4,)), np.ones(4, np.float64), [1, 1, 1, 1]),
        (Box(-9, 9, (4,)), np.ones(4, np.int64), [1, 1, 1, 1]),
        (Box(-9, 9, (4,)), [1.0, 2, 3, 4], [1, 2, 3, 4]),
        (Box(-9, 9, (4,)), np.ones((4, 1), np.float32), "ndarray of shape (4, 1) and dtype float32"),
        (Box(-9, 9, (4,)), np.ones(4, np.complex64), "ndarray of shape (4,) and dtype complex64"),
        (Box(-9, 9, (4,)), ["a"] * 4, "list of shape (4,) and dtype <U1"),
        (Box(0, 255, (4,), np.uint8), np.full(4, 255, np.int64), [255] * 4),
        (Box(0, 255, (4,), np.uint8), np.full(4, 0.5, np.float32), "ndarray of shape (4,) and dtype float32"),
        (Box(0, 255, (4,), np.uint8), np.array([0, 256, 0, 0]), "256"),
        (Box(0, 255, (4,), np.uint8), np.array([0, -1, 0, 0]), "-1"),
        (Discrete(5), np.uint8(3), 3),
        (Discrete(5), 3.0, "float of shape () and dtype float64"),
    ],
)
def test_26_a_lossless_cast_is_made_and_a_lossy_one_refused(
    space: gym.Space[Any], given: Any, taken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = open_world(Bad("obs", given, 1, space))
    caplog.set_level("INFO", "bellmax.envs")
    world.reset(0)
    if not isinstance(taken, str):
        world.step([0])
        world.reset(0)
        step = world.step([0])
        assert step.obs[0].tolist() == taken
        told = [record.getMessage() for record in caplog.records]
        cast = np.asarray(given).dtype != space.dtype
        assert len(told) == cast, told
        assert not cast or f"observation is {np.asarray(given).dtype}, kept as {step.obs.dtype} (said once)" in told[0]
        assert step.obs.dtype == (np.int32 if isinstance(space, Discrete) else space.dtype)
        return
    with pytest.raises(EnvContractError) as error:
        world.step([0])
    shown = "Discrete(5)" if isinstance(space, Discrete) else "Box(-9.0, 9.0, (4,), float32)"
    if space.dtype == np.uint8:
        shown = "Box(0, 255, (4,), uint8)"
    what = (
        f"observation is {taken}, but the observation space is {shown}{AGREE}"
        if "dtype" in taken
        else f"observation holds {taken}, but the observation space is {shown}; return numbers from 0 to 255"
    )
    says(error, f"Bad: environment 0, episode 1, step 1, action 0: {what}")


# 27: reused arrays


@pytest.mark.parametrize("mode", ["plain", "workers", AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_27_an_array_that_is_reused_does_not_change_what_is_kept(mode: Any) -> None:
    make: Any = functools.partial(Counter, reuse=True, length=5)
    world = make if isinstance(mode, str) else lambda: SyncVectorEnv([make], copy=False, autoreset_mode=mode)
    data, _ = remember(world, 200, Handling(workers=int(mode == "workers")))
    assert data.steps > 160
    follows_the_rule(data, 5)


def test_27_a_final_observation_that_was_overwritten_is_refused() -> None:
    make = functools.partial(Counter, reuse=True)
    with pytest.raises(EnvContractError) as error:
        train(lambda: SyncVectorEnv([make], autoreset_mode=AutoresetMode.SAME_STEP))
    says(
        error,
        "Counter: environment 0, episode 1, step 3, action ACTION: the environment reuses its observation "
        "array, so in SAME_STEP "
        "mode its reset overwrote the final observation: return copies, or use AutoresetMode.NEXT_STEP",
    )


# 28: the interface


GOOD = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("answer", (GOOD, 1.0, False, {}), f"step returned 4 values, not 5; {OLD}"),
        ("answer", (GOOD, 1.0, False, False, None), f"info is None (NoneType), not a dict{RETURN}"),
        (
            "terminated",
            np.array([True]),
            f"terminated is array([ True]) (ndarray of shape (1,) and dtype bool), not True or False{RETURN}",
        ),
        ("truncated", 0, f"truncated is 0 (int), not True or False{RETURN}"),
        (
            "reward",
            np.array([1.0]),
            f"reward is array([1.]) (ndarray of shape (1,) and dtype float64), not a number{RETURN}",
        ),
    ],
    ids=["four values", "info None", "array flag", "integer flag", "reward of shape (1,)"],
)
def test_28_a_broken_interface_is_an_error(field: str, wrong: Any, message: str) -> None:
    with pytest.raises(EnvContractError) as error:
        train(functools.partial(Bad, field, wrong), workers=int(field == "answer"))
    says(error, f"Bad: environment 0, episode 1, step 3, action ACTION: {message}")


@pytest.mark.parametrize("vector", [False, True])
def test_28_a_reset_without_info_is_an_error(vector: bool) -> None:
    make = functools.partial(Bad, "reset", (GOOD, None), 0)
    where, world = ("environment 0, episode 1, reset", make)
    if vector:
        where, world = "2 environments, step 0 since reset(seed)", functools.partial(Told, "NextStep", None)
    with pytest.raises(EnvContractError) as error:
        train(world, num_envs=1 + vector)
    says(error, f"{'Told' if vector else 'Bad'}: {where}: info is None (NoneType), not a dict{RETURN}")


def test_28_scalars_of_numpy_are_taken() -> None:
    world = open_world(Ends(resets=99))  # its flags and reward are NumPy's, one an array of no axes
    world.reset(0)
    assert world.step([0]).terminated.tolist() == [True]
    old = functools.partial(Bad, "reset", GOOD)
    with pytest.raises(EnvContractError) as error:
        train(old)
    says(error, f"Bad: environment 0, episode 1, reset: reset returned ndarray, not (obs, info); {OLD}")


# 29: ends; what is learned from them is in test_vector_modes.py


class Told(gym.vector.VectorEnv):
    """A vector environment that says how it resets itself, and gives no final observations."""

    num_envs = 2
    single_observation_space, single_action_space = Box(-1, 1, (2,)), Discrete(3)

    def __init__(self, mode: Any, *info: Any) -> None:
        self.metadata = {} if mode is None else {"autoreset_mode": mode}
        self.info = info or ({},)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 2), np.float32), *self.info

    def step(self, actions: Any) -> Any:
        return np.zeros((2, 2)), np.ones(2), np.array([False, True]), np.zeros(2, bool), {}


@pytest.mark.parametrize(("mode", "shown"), [(None, "None"), ("at once", "'at once'")])
def test_29_an_unknown_way_to_reset_is_refused(mode: Any, shown: str) -> None:
    with pytest.raises(EnvContractError) as error:
        train(functools.partial(Told, mode), num_envs=2)
    says(
        error,
        f"Told: metadata['autoreset_mode'] is {shown}; with a wrong one, ends of episodes would be learned "
        "wrongly: set it to one of AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED",
    )


def test_29_a_missing_final_observation_is_refused() -> None:
    with pytest.raises(EnvContractError) as error:
        train(functools.partial(Told, AutoresetMode.SAME_STEP), num_envs=2)
    says(
        error,
        "Told: environment 1, episode 1, step 1, action ACTION: the episode ended, but info['final_obs'] has no "
        "observation; SAME_STEP mode must give the final one there: use AutoresetMode.NEXT_STEP or DISABLED",
    )


# 30: actions


class Acts(Bad):
    """One state and these actions, or these masks of three."""

    def __init__(self, space: gym.Space[Any], mask: Any = None) -> None:
        super().__init__("none", None, 0)
        self.action_space, self.mask = space, mask

    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0], {} if self.mask is None else {"action_mask": np.ones(3, bool)}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        obs, reward, terminated, truncated, _ = super().step(action)
        return obs, reward, terminated, truncated, {} if self.mask is None else {"action_mask": self.mask}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            Box(-1, 1, (2,)),
            "Acts: action space Box(-1.0, 1.0, (2,), float32) is not Discrete; bellmax chooses among finitely many "
            "actions: give wrappers=[{'name': 'DiscretizeAction', 'bins': 5}], on the command line --wrapper "
            """'{"name": "DiscretizeAction", "bins": 5}', for 25 actions, 5 values in each dimension""",
        ),
        (
            Dict(a=Discrete(2)),
            "Acts: action space Dict('a': Discrete(2)) is not Discrete; bellmax chooses among finitely many actions: "
            "wrap the environment to offer a few of them",
        ),
        (
            MultiDiscrete([17, 241]),
            "Acts: action space MultiDiscrete([ 17 241]) has 4,097 combinations, and bellmax gives each a value (up to "
            "4,096): wrap the environment to offer fewer",
        ),
    ],
)
def test_30_actions_that_cannot_be_listed_are_refused_at_once(space: gym.Space[Any], message: str) -> None:
    for agent in ("dqn", "q-learning"):
        with pytest.raises(ConfigError) as error:
            train(functools.partial(Acts, space), agent)
        says(error, message)


def test_30_actions_from_five_on_and_a_single_one() -> None:
    run = train(functools.partial(Counter, start=5))
    assert run.policy().act(np.zeros(3, np.float32)) in (5, 6)
    played = bx.evaluate(run.policy(), functools.partial(Counter, start=5), episodes=3)
    assert (played.returns % 10 >= 5).any()  # the world's own asserts that its action is 5 or 6
    run = train(functools.partial(Acts, Discrete(1)))
    assert run.policy().act(GOOD) == 0


def test_30_a_mask_that_forbids_everything_is_an_error() -> None:
    with pytest.raises(EnvContractError) as error:
        train(functools.partial(Acts, Discrete(3), np.zeros(3, bool)))
    says(
        error,
        "Acts: environment 0, episode 1, step 1, action ACTION: info['action_mask'] is array([False, "
        "False, False]) (ndarray "
        f"of shape (3,) and dtype bool), not a mask that allows an action{RETURN}",
    )


# 31 to 33: environments that raise, die and hang


@pytest.mark.parametrize("workers", [0, 2])
def test_31_an_environment_that_raises(workers: int, tmp_path: Path) -> None:
    """Where, when, with which seed and actions; and what was learned before is there."""
    world = functools.partial(Hiccup, "raise", KeyError("boom"), 2, [60], length=3)
    with pytest.raises(EnvCrashed) as error:
        train(world, steps=400, num_envs=2, records=8, workers=workers, out=tmp_path / "run", seeds=[3])
    assert isinstance(error.value.__cause__, KeyError)
    assert re.fullmatch(
        r"Hiccup: environment 1, episode 21, step 2, action [01]: step raised KeyError: 'boom'; seed 4, last actions "
        r"\[([01], ){19}[01]\]",
        str(error.value),
    )
    assert newest(tmp_path / "run")[0] > 0
    run = bx.load(tmp_path / "run")
    assert len(run.history) >= 1
    assert np.isfinite(run.policy(3).q_values(np.zeros(3, np.float32))).all()
    good = bx.resume(tmp_path / "run", functools.partial(Counter, length=3, spacing=0), progress=False)
    assert good.history.step[-1] == 400


@pytest.mark.parametrize("workers", [0, 1])
def test_31_is_made_anew_where_that_is_allowed(workers: int) -> None:
    world = functools.partial(Hiccup, "raise", OSError("no\nmore"), 2, [4], length=3, spacing=0)
    with pytest.warns(EnvWarning) as warned:  # after 3 + 4 + 5 + 3 + 1 steps, again and again
        data, dropped = remember(world, 100, Handling(workers=workers, env_restarts=5))
    where = "environment 0: " if workers else ""
    assert [str(one.message) for one in warned] == [
        f"Hiccup: environment 0 was recreated: {where}step raised OSError: no more"
    ] * 5
    assert (data.steps, dropped) == (95, 5)
    follows_the_rule(data, 3)
    cut = (data.obs[:, 0] == 4) & (data.obs[:, 1] == 0)
    assert data.truncated[cut].all()
    with pytest.warns(EnvWarning), pytest.raises(EnvCrashed, match="step raised OSError"):
        train(world, env_restarts=2, workers=workers)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


class Tells(Hiccup):
    """Writes the number of its process into a folder."""

    def __init__(self, folder: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        (Path(folder) / str(os.getpid())).touch()


def orphans(folder: Path) -> list[int]:
    """Workers that are left, after a moment."""
    pids = [int(path.name) for path in folder.iterdir() if path.name != str(os.getpid())]
    assert pids
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if alive(pid)]


def test_32_a_worker_that_is_killed_in_training(tmp_path: Path) -> None:
    pids, once = tmp_path / "pids", tmp_path / "once"
    pids.mkdir()
    world = functools.partial(Tells, str(pids), "kill", signal.SIGKILL, 2, [15], str(once), spacing=0)
    with pytest.raises(EnvCrashed) as error:
        train(world, steps=400, num_envs=2, workers=2, out=tmp_path / "run")
    assert time.time() - float(once.read_text()) < 5
    assert re.fullmatch(
        r"Tells: 2 environments, step \d+ since reset\(seed\): Tells: worker [01] \(environment [01]\) was "
        r"killed by SIGKILL in "
        r"step of environment [01]; env_restarts=N recreates it and continues",
        str(error.value),
    )
    assert orphans(pids) == []
    assert bx.load(tmp_path / "run").policies

    once.unlink()
    with pytest.warns(EnvWarning, match=r"environment [01] was recreated: Tells: worker [01] .* was killed by SIGKILL"):
        run = train(world, steps=400, num_envs=2, workers=2, env_restarts=1)
    assert run.history.step[-1] == 400
    assert orphans(pids) == []


def test_33_a_worker_that_hangs(tmp_path: Path) -> None:
    pids, once = tmp_path / "pids", tmp_path / "once"
    pids.mkdir()
    world = functools.partial(Tells, str(pids), "hang", 1000, 2, [5], str(once))
    with pytest.raises(EnvTimeout) as error:
        train(world, steps=200, workers=1, env_timeout=0.5)
    assert 0.4 < time.time() - float(once.read_text()) < 5
    assert re.fullmatch(
        r"Tells: 1 environment, step \d+ since reset\(seed\): Tells: worker 0 \(environment 0\) did not "
        r"answer within 0.5 s in "
        "step of environment 0; env_restarts=N recreates it and continues",
        str(error.value),
    )
    assert orphans(pids) == []


def test_33_an_environment_of_this_process_that_hangs_is_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(in_process, "SILENCE", 0.2)
    train(functools.partial(Hiccup, "hang", 0.7, 2, [5], str(tmp_path / "once")))
    said = capfd.readouterr().err
    assert "Hiccup: no answer for 0 s; workers=1 would stop it. The environment is at:\n" in said
    assert "time.sleep(self.wrong)" in said
    assert 2 <= said.count("no answer for") <= 3


def test_33_the_watchdog_goes_with_what_it_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "SILENCE", 0.04)
    others = threading.enumerate()  # watchdogs of worlds of other tests, perhaps, that are not collected yet
    world = open_world(functools.partial(Hiccup, "raise", OSError("no"), 1, spacing=0))
    world.reset(0)
    started = [one for one in threading.enumerate() if one not in others]
    (watchdog,) = [one for one in started if getattr(one, "_target", None) is in_process._guard]
    with pytest.raises(EnvCrashed, match="step raised OSError: no"):
        world.step([0])
    assert watchdog.is_alive()
    del world
    gc.collect()
    watchdog.join(5)
    assert not watchdog.is_alive()


def test_33_a_world_that_raised_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(in_process, "SILENCE", 0.04)
    world = open_world(functools.partial(Hiccup, "raise", OSError("no"), 1, spacing=0))
    world.reset(0)
    with pytest.raises(EnvCrashed, match="step raised OSError: no"):
        world.step([0])
    time.sleep(0.2)
    world.close()
    assert "no answer" not in capfd.readouterr().err


# 34 and 35: episodes without an end, and without a middle


def test_34_an_episode_without_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(positions, "ENDLESS", 150)
    endless = functools.partial(Bad, "none", None, 0)
    with pytest.warns(EnvWarning) as warned:
        run = train(endless, steps=400, out=tmp_path / "run")
    assert [str(one.message) for one in warned] == [
        "Bad: no episode ended in 150 steps; if that is a mistake, give max_episode_steps"
    ]
    assert run.history.step == [100, 200, 300, 400]  # records and checkpoints go by steps
    assert run.history["rollout/episodes"].tolist() == [[0, 0, 0, 0]]
    assert len(bx.load(tmp_path / "run").history) == 4
    with pytest.warns(EnvWarning, match="no episode ended"):
        assert bx.evaluate(run.policy(), endless, episodes=1).lengths.tolist() == [2_000]  # greedy play has a cap


def test_34_a_time_limit_truncates() -> None:
    gym.register("Endless-v0", lambda: Bad("none", None, 0))
    try:
        run = train("Endless-v0", steps=100, env_kwargs={"max_episode_steps": 10}, keep_experience=True)
    finally:
        del gym.registry["Endless-v0"]
    (data,) = run.experience
    assert data.truncated.tolist() == [*([False] * 9), True] * 10
    assert not data.terminated.any()
    assert run.episodes[0].lengths.tolist() == [10] * 10


def test_35_episodes_of_one_step() -> None:
    with pytest.warns(EnvWarning) as warned:
        run = train(functools.partial(Ends, 10**9), steps=400, eval_episodes=3, final_episodes=3)
    message = "Ends: 101 of the first 101 episodes had one step; check what ends them"
    assert [str(one.message) for one in warned] == [message]
    assert run.history["rollout/ep_len_mean"][0].tolist() == [1, 1, 1, 1]
    assert run.scores == [0.5]
    with pytest.warns(EnvWarning, match="had one step"):
        run = train(functools.partial(Ends, 10**9), "q-learning", 400)
    assert run.history["rollout/ep_len_mean"][0].tolist() == [1, 1, 1, 1]


def test_35_a_reset_that_raises_or_leaves_the_space() -> None:
    with pytest.raises(EnvCrashed) as error:
        train(functools.partial(Ends, 1))
    says(error, "Ends: environment 0, episode 2, reset: reset raised OSError: no more; seed 0, last actions [0]")
    with pytest.raises(EnvContractError) as broken:
        train(functools.partial(Bad, "reset", (4, {}), space=Discrete(4)))
    says(
        broken,
        "Bad: environment 0, episode 1, reset: observation 4 is outside Discrete(4); return 0 to 3, or "
        "declare a larger "
        "space",
    )
    with pytest.warns(EnvWarning) as warned:
        train(functools.partial(Bad, "reset", (np.full(2, 3, np.float32), {}), 0, Box(-1, 1, (2,))))
    assert {str(one.message) for one in warned} == {
        "Bad: environment 0, episode 1, reset: observation[0] is 3, outside -1 to 1; declare a larger "
        "space, or clip in a "
        "wrapper (said once)"
    }


def test_35_a_reset_that_raises_is_made_anew_where_that_is_allowed() -> None:
    made: list[int] = []

    def make() -> Ends:
        made.append(1)
        return Ends(50 if len(made) < 3 else 10**9)

    with pytest.warns(EnvWarning, match=r"^Ends: environment 0 was recreated: reset raised OSError: no more$"):
        data, _ = remember(make, 90, Handling(env_restarts=2))
    assert data.steps == 90


# 36: slower


class Tiring(Counter):
    """Gathers something: after a thousand steps each takes thirty times as long."""

    taken = 0

    def step(self, action: Any) -> Any:
        self.taken += 1
        time.sleep(0.0002 if self.taken < 1000 else 0.006)
        return super().step(action)


def test_36_an_environment_that_slows_down() -> None:
    with pytest.warns(EnvWarning) as warned:
        run = train(Tiring, steps=1600, records=8)
    (only,) = [str(one.message) for one in warned]
    assert re.fullmatch(
        r"Tiring: its step takes 6\.\d+ ms now, and took 0\.\d+ at the start; the environment has become "
        "slower, or the machine is busy: check whether it accumulates state",
        only,
    )
    history = run.history
    parts = [history[f"time/{name}_ms"][0] for name in ("env", "act", "wait", "overhead")]
    np.testing.assert_allclose(sum(parts), history["time/step_ms"][0])
    assert (history["time/learn_ms"][0] >= 0).all()
    assert (history["system/rss_mb"][0] > 50).all()


# 37: seeds


class Deaf(Counter):
    """Ignores its seed."""

    def observe(self, action: int) -> np.ndarray:
        return super().observe(action) + np.random.default_rng().random(3, np.float32)


def test_37_an_environment_that_ignores_its_seed() -> None:
    report = bx.check_env(functools.partial(Deaf, length=5), steps=50)
    assert not report.ok
    (finding,) = [one for one in report.findings if one.check == "determinism"]
    assert finding.level == "error"
    assert re.match(
        r"seed 0, the same actions, in one environment: episode 1, reset: observation\[0\] is 0\.\d+ and 0\.\d+",
        finding.what,
    )
    assert bx.check_env(functools.partial(Counter, length=5), steps=50).ok
    command = "import sys; from bellmax.cli import main; sys.argv[1:] = sys.argv[1:]; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "check-env", "test_faults:Deaf"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "determinism" in done.stdout


# what a failure leaves behind


class Line(gym.Env):
    """States 5 to 9, a reward of 1 a step, an end at 10; with a probability the reward is no number."""

    observation_space, action_space = Discrete(6, start=5), Discrete(2)

    def __init__(self, fault: float = 0.2) -> None:
        self.fault = fault

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = 5
        return 5, {}

    def step(self, action: Any) -> Any:
        self.state += 1
        bad = self.np_random.random() < self.fault
        return self.state, math.nan if bad else 1.0, self.state == 10, False, {}


@pytest.mark.parametrize("agent", ["n-step-sarsa", "tree-backup", "true-online-sarsa", "q-learning"])
def test_no_window_and_no_trace_goes_on_after_a_step_that_was_left_out(agent: str) -> None:
    options = {"gamma": 1.0, "learning_rate": 0.1, "eval_episodes": 0, "final_episodes": 0, "progress": False}
    run = bx.train(Line, agent, steps=6000, on_nonfinite="truncate_episode", **options)
    values = run.policy().table().max(axis=1)
    assert (values[:5] <= [5.001, 4.001, 3.001, 2.001, 1.001]).all(), values
    np.testing.assert_allclose(values[4], 1.0, atol=1e-3)
    assert run.history["rollout/dropped"][0, -1] > 300


class Spotted(Line):
    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        spot = self.state == 7 and self.np_random.random() < 0.5
        return obs, math.nan if spot else 1.0, *rest


@pytest.mark.parametrize(("how", "returns"), [("skip", {4.0, 5.0}), ("truncate_episode", {5.0})])
def test_returns_and_scores_are_of_whole_episodes(how: str, returns: set[float]) -> None:
    remarks = pytest.warns(EnvWarning, match="were cut short by a failure and do not count")
    with remarks if how != "skip" else contextlib.nullcontext():
        run = train(lambda: Spotted(0.0), steps=200, on_nonfinite=how, final_episodes=20)
    assert set(run.episodes[0].returns) == returns
    assert set(run.evaluations[0].returns) <= returns


class Parity(gym.Env):
    """Reward for the action that tells whether the state is odd."""

    observation_space, action_space = Discrete(4, start=1), Discrete(2, start=7)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state, self.time = int(self.np_random.integers(1, 5)), 0
        return self.state, {}

    def step(self, action: Any) -> Any:
        reward = float(action - 7 == self.state % 2)
        self.state, self.time = int(self.np_random.integers(1, 5)), self.time + 1
        return self.state, reward, False, self.time == 10, {}


def test_a_policy_acts_on_what_the_world_gives_whatever_its_start() -> None:
    policy = train(Parity, "q-learning", steps=3000, gamma=0.5).policy()
    assert [policy.act(state) for state in (1, 2, 3, 4)] == [8, 7, 8, 7]


class Marked(Counter):
    """Its steps tell a mask, and its resets if `early`."""

    def __init__(self, length: int, early: bool = True) -> None:
        super().__init__(length)
        self.early = early

    def reset(self, **kwargs: Any) -> Any:
        obs, _ = super().reset(**kwargs)
        return obs, {"action_mask": np.ones(2, np.int8)} if self.early else {}

    def step(self, action: Any) -> Any:
        *answer, _ = super().step(action)
        return *answer, {"action_mask": np.ones(2, np.int8)}


def test_a_disabled_vector_environment_with_masks_and_ends_apart() -> None:
    vector = SyncVectorEnv([lambda: Marked(3), lambda: Marked(4)], autoreset_mode=AutoresetMode.DISABLED)
    run = bx.train(vector, "dqn", num_envs=2, steps=80, **{**TRAIN, **SMALL})
    assert run.episodes[0].returns.size > 10


def test_a_mask_that_comes_late_is_remarked() -> None:
    with pytest.warns(EnvWarning, match=r"^Marked: info\['action_mask'\] comes with steps but not with reset"):
        train(functools.partial(Marked, 3, early=False))
