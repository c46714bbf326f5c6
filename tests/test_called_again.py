"""What is called twice, after `close`, or with a function that raises: an error in words, and whole files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import bellmax as bx
from bellmax.contracts import EnvCrashed
from bellmax.loops.choosing import make_loop
from bellmax.loops.stopping import never
from bellmax.sources import find_world

SHORT: dict[str, Any] = {"steps": 400, "records": 2, "eval_episodes": 0, "final_episodes": 0, "progress": False}


def test_a_cell_of_a_notebook_runs_again(tmp_path: Path) -> None:
    """The same call gives the same bits; with a folder it says what to do, and what is there stays."""
    first, second = (bx.train("corridor", "q-learning", **SHORT) for _ in range(2))
    np.testing.assert_array_equal(first.policy().table(), second.policy().table())
    bx.train("corridor", "q-learning", out=tmp_path / "run", **SHORT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(bx.ConfigError, match="exists already; choose another one, or pass if_exists='number'"):
        bx.train("corridor", "q-learning", out=tmp_path / "run", **SHORT)
    with pytest.raises(bx.ConfigError, match="has ended at step 400; there is nothing to resume"):
        bx.resume(tmp_path / "run")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for _ in range(2):
        first.policy().save(tmp_path / "policy")
    np.testing.assert_array_equal(bx.load_policy(tmp_path / "policy").table(), first.policy().table())


def test_an_environment_object_serves_twice() -> None:
    for env in (gym.make("FrozenLake-v1"), SyncVectorEnv([lambda: gym.make("FrozenLake-v1")] * 2)):
        first, second = (bx.train(env, "q-learning", loop="host", **SHORT) for _ in range(2))
        np.testing.assert_array_equal(first.policy().table(), second.policy().table())
        env.close()


class Closable(gym.Env[int, int]):
    """Cannot be reset once it is closed, as those that hold a window or a process."""

    observation_space, action_space, closed = gym.spaces.Discrete(2), gym.spaces.Discrete(2), False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        if self.closed:
            raise RuntimeError("already closed")
        return 0, {}

    def close(self) -> None:
        self.closed = True


def test_an_environment_that_was_closed_says_so() -> None:
    env = Closable()
    env.close()
    with pytest.raises(EnvCrashed, match="reset raised RuntimeError: already closed"):
        bx.train(env, "q-learning", **SHORT)


class OwnError(Exception):
    """Of the user's."""


def test_a_function_of_the_user_that_raises_is_passed_on(tmp_path: Path) -> None:
    """Whenever it is called; the folder is then free, and what was saved is whole."""
    calls: list[str] = []

    def say(text: str) -> None:
        calls.append(text)
        if len(calls) == k:
            raise OwnError

    folders = []
    for k in range(1, 20):
        calls.clear()
        folder = tmp_path / f"run-{k}"
        with contextlib.suppress(OwnError):
            bx.train("FrozenLake-v1", "q-learning", loop="host", out=folder, say=say, **SHORT)
            assert len(calls) < k
        folders.append(folder)
        if len(calls) < k:
            break
    assert len(folders) > 1
    for folder in (each for each in folders if (each / "config.json").exists()):
        assert not (folder / "run.lock").exists()
        run = bx.load(folder) if (folder / "result.json").exists() else bx.resume(folder, progress=False)
        assert run.history.step == [200, 400]


def test_a_function_that_acts_and_raises_is_passed_on() -> None:
    def act(obs: object) -> int:
        raise OwnError("no idea")

    with pytest.raises(OwnError, match="no idea"):
        bx.evaluate(act, "FrozenLake-v1", episodes=1)


def test_more_steps_than_a_network_counts_are_an_error() -> None:
    with pytest.raises(bx.ConfigError, match=r"steps=2147483648 exceeds the 32-bit clock of networks; use less than"):
        bx.train("CartPole-v1", "dqn", steps=2**31)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_tables_count_beyond_32_bits(kind: Any) -> None:
    """The clock, and what follows from it: a run that is 2^33 steps old explores as little as one of its end."""
    old = 2**33
    config = bx.QLearning(exploration_final_eps=0.0, exploration_fraction=0.5)
    loop = make_loop(config, find_world("FrozenLake-v1"), kind, 2 * old)
    arrays = loop.dump(loop.start([0]))
    names = [name for name in arrays if name.endswith("clock.time")]
    assert names
    state = loop.restore([0], {**arrays, **{name: np.full_like(arrays[name], old) for name in names}}, old)
    state, _, done = loop.go(state, old, 500, never)
    found = loop.dump(state)
    assert done == 500
    assert [found[name].max() for name in names] == [old + 500] * len(names)
    assert found["state.visits"].sum() == 500
    assert not found["state.visits"][..., 1:].any()  # all values are 0: the greedy action is the first
    loop.close(state)
