"""How a run goes is the same after it was stopped and resumed, and where it differs from before, that is said."""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power, reseal

import bellmax as bx
from bellmax.cli import main
from bellmax.envs.host_steps import Handling
from bellmax.training import resume, saved_runs, trainer
from bellmax.training.options import FIXED, DataCard, RunOptions

QUICK: dict[str, Any] = {"steps": 60, "seeds": 2, "loop": "host", "progress": False, "records": 2}
# a value of each field that differs from its default
OTHER: dict[str, Any] = {
    "records": 3,
    "record_spacing": "log",
    "keep_policies": True,
    "eval_episodes": 2,
    "final_episodes": 4,
    "keep_episodes": 6,
    "keep_experience": True,
    "keep_checkpoints": 3,
    "save_replay_every": 60.0,
    "vmap": 2,
    "workers": 1,
    "env_timeout": 33.0,
    "env_restarts": 3,
    "on_nonfinite": "skip",
    "strict": True,
}
SMALL = {"learning_starts": 5, "buffer_size": 40, "batch_size": 4, "net_arch": (4,)}


def stopped(patch: pytest.MonkeyPatch, folder: Path, world: Any = "FrozenLake-v1", **options: Any) -> Path:
    """A run that lost power at its first checkpoint."""
    patch.setattr(trainer, "SAVE_SECONDS", -1.0)
    with patch.context() as now:
        lose_power(now)
        with pytest.raises(StopError):
            bx.train(world, options.pop("agent", "q-learning"), out=folder, **{**QUICK, **options})
    return folder


def test_every_option_has_another_value_here() -> None:
    elsewhere = ("data", "episodes")  # tested with data sets, and in test_episodes.py
    fields = {field.name: field.default for field in dataclasses.fields(RunOptions) if field.name not in elsewhere}
    assert fields.keys() == OTHER.keys()
    assert all(OTHER[name] != default for name, default in fields.items())


def test_the_options_are_the_arguments_of_train() -> None:
    import inspect

    arguments = inspect.signature(bx.train).parameters
    for field in dataclasses.fields(RunOptions):
        assert arguments[field.name].default == field.default


def test_options_come_as_one_object_or_as_keywords() -> None:
    given = {"records": 2, "eval_episodes": 0, "final_episodes": 3}
    apart = bx.train("corridor", "q-learning", steps=200, progress=False, **given)
    whole = bx.train("corridor", "q-learning", steps=200, progress=False, options=bx.RunOptions(**given))
    mixed = bx.train(
        "corridor", "q-learning", steps=200, progress=False, final_episodes=3,
        options=bx.RunOptions(records=2, eval_episodes=0),
    )  # fmt: skip
    assert apart.options == whole.options == mixed.options
    assert apart.scores == whole.scores == mixed.scores
    by_episode = bx.train("corridor", "q-learning", progress=False, options=bx.RunOptions(episodes=5, records=1))
    assert (by_episode.unit, by_episode.steps) == ("episodes", 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": bx.RunOptions(records=5), "records": 4}, "records=4 and options.records=5"),
        ({"options": bx.RunOptions(episodes=5), "episodes": 5}, "episodes are set twice"),
        ({"options": bx.RunOptions(episodes=5), "steps": 5}, "not both"),
        ({"options": {"records": 5}}, "must be bellmax.RunOptions"),
        ({"options": bx.RunOptions(data=DataCard(source="data.safetensors"))}, "data='data.safetensors'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.train("corridor", "q-learning", progress=False, **arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 200_000}, "`workers` must be an integer from 0 to 100000; got 200000"),
        ({"data": 5}, "`data` must be the DataCard of a saved run, or None; got 5"),
        ({"recrods": 3}, "unknown option 'recrods'; did you mean 'records'?"),
    ],
)
def test_what_an_option_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(message)):
        RunOptions(**given)
    with pytest.raises(bx.ConfigError, match="only named options; got 3"):
        RunOptions(3)


@pytest.mark.parametrize("name", OTHER)
def test_an_option_is_in_force_after_a_resume(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {name: OTHER[name]}
    if name in ("keep_experience", "save_replay_every", "vmap"):
        options |= {"agent": "dqn", **SMALL}
    if name == "vmap":
        options |= {"world": "CartPole-v1", "loop": "compiled"}
    folder = stopped(monkeypatch, tmp_path / "run", **options)
    shown = {
        "records": lambda run: len(run.history) == 3,
        "record_spacing": lambda run: run.history.step == [1, 60],
        "keep_policies": lambda run: run.kept_policies.steps == [30, 60],
        "eval_episodes": lambda run: "exact/policy_return" in run.history or "eval/mean_reward" in run.history,
        "final_episodes": lambda run: len(run.evaluations[0].returns) == 4,
        "keep_episodes": lambda run: [e.returns.size for e in run.episodes] == [3, 3],
        "keep_experience": lambda run: run.experience[1].steps == 40,
    }
    in_force: list[Any] = []

    class Watched(trainer.Trainer):
        def __init__(self, run: Any, source: Any, *rest: Any, **more: Any) -> None:
            in_force.append((run.options, source))
            super().__init__(run, source, *rest, **more)

        def go(self, wanted: bool | None) -> None:
            if name in shown:
                super().go(wanted)

    seen: list[Handling] = []
    find = resume.find_saved_world

    def watched(*arguments: Any, **more: Any) -> Any:
        seen.append(more["handling"])
        return find(*arguments, **more)

    monkeypatch.setattr(resume, "Trainer", Watched)
    monkeypatch.setattr(resume, "find_saved_world", watched)
    run = bx.resume(folder, progress=False)
    ((options_in_force, _),) = in_force
    assert getattr(options_in_force, name) == OTHER[name]
    assert bx.load(folder).options == options_in_force
    assert seen == [options_in_force.handling]
    assert shown.get(name, lambda run: True)(run)


class Where(gym.Env[Any, Any]):
    """Its reward is 1 in another process than the one that is named."""

    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)

    def __init__(self, here: int) -> None:
        self.here = here

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.t % 3, float(os.getpid() != self.here), self.t == 10, False, {}


def test_a_resumed_run_steps_in_worker_processes_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = functools.partial(Where, os.getpid())
    options = {"workers": 1, "eval_episodes": 0, "final_episodes": 1, "seeds": 1}
    folder = stopped(monkeypatch, tmp_path / "run", world, **options)
    said: list[str] = []
    run = bx.resume(folder, world, progress=False, say=said.append)
    assert run.episodes[0].returns.tolist() == [10.0] * len(run.episodes[0].returns)
    assert not any("differ" in line for line in said)
    folder = stopped(monkeypatch, tmp_path / "other", world, **options)
    run = bx.resume(folder, world, workers=0, progress=False, say=said.append)
    assert run.episodes[0].returns[-1] == 0.0
    assert "options differ from before: workers=0 (before: 1)" in said
    assert bx.load(folder).options.workers == 0


@pytest.mark.parametrize("name", FIXED)
def test_what_cannot_change_on_resume_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(monkeypatch, tmp_path / "run")
    with pytest.raises(bx.ConfigError, match=f"`{name}` cannot change on resume: {FIXED[name][:9]}"):
        bx.resume(folder, **{name: 3})
    assert bx.resume(folder, progress=False).scores


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"worker": 2}, "unknown option 'worker'; did you mean 'workers'?"),
        ({"workers": -1}, "`workers` must be an integer from 0 to 100000; got -1"),
        ({"on_nonfinite": "skp"}, "unknown on_nonfinite 'skp'; did you mean 'skip'?"),
        ({"strict": "yes"}, "strict='yes'"),
        ({"keep_experience": True}, "keep_experience stores the replay buffer, and q-learning does not have one"),
    ],
)
def test_a_wrong_option_on_resume(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(monkeypatch, tmp_path / "run")
    with pytest.raises(bx.ConfigError, match=message):
        bx.resume(folder, progress=False, **given)


def test_how_environments_are_run_cannot_be_given_to_a_compiled_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(monkeypatch, tmp_path / "run", loop="compiled")
    with pytest.raises(bx.ConfigError, match="need a Gymnasium environment"):
        bx.resume(folder, workers=2)


# arguments of the environment: merged over those of training


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "lake"
    options = {"steps": 20_000, "seeds": 1, "progress": False, "env_kwargs": {"is_slippery": False}}
    run = bx.train("FrozenLake-v1", "q-learning", out=folder, **options)
    assert run.scores == [1.0]
    return folder


def test_arguments_given_to_an_evaluation_leave_the_others_as_they_were(lake: Path) -> None:
    policy = bx.load(lake).policy()
    said: list[str] = []
    played = bx.evaluate(policy, env_kwargs={"render_mode": "rgb_array"}, episodes=5, say=said.append)
    assert played.returns.tolist() == [1.0] * 5
    assert said == ["env_kwargs differ from training: render_mode='rgb_array' (not given in training)"]
    for world in ("FrozenLake-v1", None):
        again = bx.evaluate(policy, world, env_kwargs={"render_mode": "rgb_array"}, episodes=5)
        assert again.returns.tolist() == [1.0] * 5
    said.clear()
    slippery = bx.evaluate(policy, env_kwargs={"is_slippery": True}, episodes=50, say=said.append)
    assert slippery.mean_return < 1.0
    assert said == ["env_kwargs differ from training: is_slippery=True (training: False)"]
    said.clear()
    assert bx.evaluate(policy, env_kwargs={"is_slippery": False}, episodes=5, say=said.append).mean_return == 1.0
    assert said == []


def test_arguments_of_training_do_not_apply_to_another_environment(lake: Path) -> None:
    policy = bx.load(lake).policy()
    said: list[str] = []
    other = bx.evaluate(policy, gym.make("FrozenLake-v1"), episodes=50, say=said.append)
    assert other.mean_return < 1.0
    assert said == [
        "<FrozenLake-v1> is not the environment of training, FrozenLake-v1; its env_kwargs {'is_slippery': False} do "
        "not apply"
    ]


def test_the_command_line_merges_and_says_so(lake: Path) -> None:
    done = CliRunner().invoke(main, ["eval", str(lake), "--episodes", "5", "--env", "render_mode=rgb_array", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["returns"] == {"0": [1.0] * 5}
    assert "env_kwargs differ from training: render_mode='rgb_array' (not given in training)" in done.stderr


def test_resume_merges_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(
        monkeypatch, tmp_path / "run", loop="compiled", seeds=1, steps=20_000, env_kwargs={"is_slippery": False}
    )
    said: list[str] = []
    run = bx.resume(folder, env_kwargs={"render_mode": "rgb_array"}, progress=False, say=said.append)
    assert run.scores == [1.0]
    assert "env_kwargs differ from training: render_mode='rgb_array' (not given in training)" in said


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_arguments_given_on_resume_are_those_of_the_next_resume_and_of_evaluation(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [{"name": "TimeLimit", "max_episode_steps": 3}]
    folder = stopped(
        monkeypatch, tmp_path / "run", loop=loop, seeds=1, steps=400, env_kwargs={"is_slippery": False}, records=4
    )
    changes = {"max_episode_steps": 3} if loop == "compiled" else {"wrappers": one}
    with monkeypatch.context() as now:
        now.setattr(saved_runs, "save_run", lambda *arguments, **how: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            bx.resume(folder, env_kwargs=changes, progress=False)
    said: list[str] = []
    run = bx.resume(folder, progress=False, say=said.append)
    assert run.env_kwargs == bx.load(folder).env_kwargs == {"is_slippery": False, **changes}
    assert run.policy().env_kwargs == run.env_kwargs
    assert not [line for line in said if "differ" in line]
    assert bx.evaluate(folder, episodes=2).lengths.max() <= 3


def test_a_tuple_is_the_list_that_it_was_saved_as_and_numbers_of_numpy_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"reward_schedule": (np.float64(1), np.int64(0), -1), "is_slippery": np.bool_(False)}
    folder = tmp_path / "run"
    bx.train("FrozenLake-v1", "q-learning", out=folder, env_kwargs=given, **QUICK)
    assert json.loads((folder / "config.json").read_text())["env_kwargs"] == {
        "reward_schedule": [1.0, 0, -1], "is_slippery": False,
    }  # fmt: skip
    said: list[str] = []
    bx.evaluate(folder, env_kwargs=given, episodes=2, say=said.append)
    assert said == []
    bx.evaluate(folder, env_kwargs={"reward_schedule": np.ones(3)}, episodes=2, say=said.append)
    assert len(said) == 1


class Wide(gym.Env[Any, Any]):
    """Two rows of two numbers."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2, 2), np.float32), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros((2, 2), np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros((2, 2), np.float32), 1.0, self.t == 5, False, {}


def test_an_object_that_is_given_again_has_the_wrappers_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrappers = ["FlattenObservation", {"name": "TimeLimit", "max_episode_steps": 3}]
    options = {"agent": "dqn", "wrappers": wrappers, "seeds": 1, **SMALL}
    folder = stopped(monkeypatch, tmp_path / "run", Wide, **options)
    run = bx.resume(folder, Wide, progress=False)
    assert run.scores == [3.0]
    assert bx.evaluate(bx.load(folder).policy(), Wide, episodes=2).lengths.tolist() == [3, 3]


def test_wrappers_cannot_be_given_twice() -> None:
    with pytest.raises(bx.ConfigError, match="wrappers are given twice"):
        bx.train("CartPole-v1", "dqn", wrappers=["TimeLimit"], env_kwargs={"wrappers": ["FlattenObservation"]})


@pytest.mark.parametrize("card", [[1], 1.5, "x", True, {}, {"source": ""}, {"source": 5}], ids=repr)
def test_a_broken_card_of_the_data_set_is_a_corrupt_run(card: Any, tmp_path: Path, monkeypatch: Any) -> None:
    folder = stopped(monkeypatch, tmp_path / "run")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "data": card}))
    reseal(folder)
    with pytest.raises(bx.CorruptCheckpoint, match=r"data=|source"):
        bx.resume(folder)
