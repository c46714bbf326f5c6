"""An environment that is passed again to a resumed run is that of training, and not only called the same."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from saved import StopError, lose_power, reseal

import bellmax as bx
from bellmax.files.world_traits import traits_of
from bellmax.sources import find_world

QUICK: dict[str, Any] = {"steps": 60, "records": 6, "final_episodes": 1, "eval_episodes": 0, "progress": False}


def maze(text: str = "S.#\n..G", name: str = "maze", **changes: Any) -> bx.FiniteMDP:
    return bx.gridworld(text, name=name, max_episode_steps=20, **changes)


def lake(*rows: str) -> Callable[[], Any]:
    return lambda: gym.make("FrozenLake-v1", desc=list(rows), render_mode="ansi")


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Path]:
    """A function that trains in an environment, and loses power halfway."""

    def train(world: object) -> Path:
        with monkeypatch.context() as patch:
            lose_power(patch, 30)
            with pytest.raises(StopError):
                bx.train(world, "q-learning", out=tmp_path / "run", **QUICK)
        return tmp_path / "run"

    return train


def test_another_model_of_the_same_name_is_refused(stopped: Callable[[object], Path]) -> None:
    folder = stopped(maze())
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    others = {
        "in reward; pass": maze(step_reward=-0.05),
        r"max_episode_steps=30 \(saved: 20\); pass": dataclasses.replace(maze(), max_episode_steps=30),
        r"n_states=7 \(saved: 5\)": maze("S.#.\n..G."),
        "successor, probability": maze("S.G\n..#"),
    }
    for words, other in others.items():
        with pytest.raises(
            bx.IncompatibleCheckpoint, match=f"<maze> differs from the environment of training.*{words}"
        ):
            bx.resume(folder, other)
    with pytest.raises(bx.ConfigError, match="is another one: <maze> differs in reward; choose another folder"):
        bx.train(maze(step_reward=-0.05), "q-learning", out=folder, if_exists="resume", **QUICK)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    said: list[str] = []
    other = dataclasses.replace(maze(step_reward=-0.05), name="hall")
    assert bx.resume(folder, other, say=said.append).scores  # on purpose
    assert "<hall> is not the environment of training, <maze>" in said


def test_a_model_that_differs_in_its_last_bits_is_the_same(stopped: Callable[[object], Path]) -> None:
    mdp = maze()
    folder = stopped(mdp)
    nudged = dataclasses.replace(mdp, reward=np.nextafter(mdp.reward, 9.0) * np.where(mdp.reward == 0, -1.0, 1.0))
    assert not np.array_equal(nudged.reward, mdp.reward)
    assert bx.resume(folder, nudged).scores


def test_a_run_of_an_older_version_has_no_traits(stopped: Callable[[object], Path]) -> None:
    folder = stopped(maze())
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**card, "world_traits": ["reward"]}))
    reseal(folder)
    with pytest.raises(bx.CorruptCheckpoint, match="world_traits"):
        bx.resume(folder, maze())
    del card["world_traits"]
    (folder / "config.json").write_text(json.dumps(card))
    reseal(folder)
    assert bx.resume(folder, maze(step_reward=-0.05)).scores


def test_what_gymnasium_makes_in_a_function(stopped: Callable[[object], Path]) -> None:
    folder = stopped(lake("SF", "FG"))
    with pytest.raises(bx.IncompatibleCheckpoint, match=r"<FrozenLake-v1> differs from .* in arguments; pass the env"):
        bx.resume(folder, lake("SH", "FG"))
    assert bx.resume(folder, lambda: gym.make("FrozenLake-v1", desc=("SF", "FG"))).scores  # rendering does not count


class Car(gym.Env[Any, Any]):
    """Has two observations, up to a bound."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, bound: float) -> None:
        self.observation_space = gym.spaces.Box(-bound, bound, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, True, {}


def test_objects_with_other_bounds_differ_and_names_have_their_tables() -> None:
    first, other = (traits_of(find_world(Car(bound))) for bound in (1.0, 2.0))
    assert {name for name in first if first[name] != other[name]} == {"observation_space"}
    assert traits_of(find_world("CartPole-v1")) == {}  # its version is in environment.json
    assert traits_of(find_world("FrozenLake-v1"))["n_states"] == 16
    assert traits_of(find_world("corridor")) == traits_of(find_world("corridor"))
