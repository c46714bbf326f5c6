"""A type checker follows a user's calls: names of settings, their choices and kinds, and what a call returns."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest

import bellmax as bx
from bellmax.agent_config import AgentConfig, build, choices, setting, with_default
from bellmax.catalog import AGENTS, agent_class
from bellmax.deep.dqn import DQN, LOSSES
from bellmax.files.existing_folders import IF_EXISTS
from bellmax.loops.choosing import LOOPS
from bellmax.networks.network import CELLS
from bellmax.solving.methods import METHODS
from bellmax.training.options import FIXED, Changes
from bellmax.training.run import WHICH

ROOT = Path(__file__).parents[1]

RIGHT = """
from dataclasses import dataclass
from typing import ClassVar, Literal

import bellmax as bx
from bellmax import extend


@dataclass(frozen=True, kw_only=True)
class Mine(bx.DQN):
    name: ClassVar[str] = "mine"
    patience: float = extend.setting(0.5, "a sentence", low=0.0)
    manner: Literal["calm", "hasty"] = extend.setting("calm", "a sentence")
    loss: Literal["huber", "squared"] = extend.with_default(bx.DQN, "loss", "huber")


config: bx.DQN = bx.DQN(loss="huber", double=True, net_arch=(64, 64), optimizer="adamw", network="mine:Torso")
own: Mine = Mine(patience=1, manner="hasty", recurrent="lstm")
table: bx.QLearning = bx.QLearning(exploration_schedule="per-episode", gamma=1)
run: bx.Run = bx.train("cliff", table, steps=1_000, seeds=2)
run = bx.train("CartPole-v1", "dqn", steps=1_000, loss="huber")
options: bx.RunOptions = bx.RunOptions(on_nonfinite="skip")
solution: bx.Solution = bx.solve(bx.corridor(5), gamma=0.9)
"""

WRONG = [
    ("bx.DQN(doubel=True)", "doubel"),
    ('bx.DQN(loss="hubber")', "hubber"),
    ('bx.DQN(double="yes")', "bool"),
    ('bx.R2D2(recurrent="lstn")', "lstn"),
    ('bx.QLearning(exploration="ladder")', "ladder"),
    ('bx.RunOptions(on_nonfinite="ignore")', "ignore"),
    ('bx.train("cliff", "sarsa", loop="hots")', "hots"),
    ('bx.train("cliff", "sarsa", if_exists="resum")', "resum"),
    ('bx.train("cliff", "sarsa", on_nonfinite="ignore")', "ignore"),
    ('bx.resume("run", on_nonfinite="ignore")', "ignore"),
    ('bx.load("run").policy(which="last")', "last"),
    ('bx.evaluate("run", which="last")', "last"),
    ('bx.solve(bx.cliff(), 0.9, method="value")', "value"),
    ("bx.solve(bx.cliff(), gama=0.9)", "gama"),
    ('bx.evaluate("run", sed=3)', "sed"),
    ('bx.evaluate("run", "CartPole-v1", 100)', "Never"),
    ("bx.evaluate_policy(bx.cliff(), [0], gama=0.9)", "gama"),
    ('bx.collect(None, "CartPole-v1", step=100)', "step"),
    ('bx.check_env("CartPole-v1", step=100)', "step"),
    ('bx.resume("run", eval_episode=3)', "eval_episode"),
    ('bx.train("cliff", "sarsa", 1_000)', "Never"),
    ('bx.solve_soft(bx.cliff(), 0.9, 0.1, method="value")', "value"),
    ("bx.DNQ()", "DNQ"),
    ("extend.setings", "setings"),
]


@pytest.mark.slow
def test_a_users_script_is_checked(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    lines = ["import bellmax as bx", "from bellmax import extend", *(line for line, _ in WRONG)]
    (tmp_path / "wrong.py").write_text("\n".join(lines))
    command = ["-m", "mypy", "--strict", "--config-file=", f"--cache-dir={ROOT / '.cache' / 'mypy'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}  # found as an installed package is: its marker counts
    checked = subprocess.run(
        [sys.executable, *command, "right.py", "wrong.py"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    said = checked.stdout.splitlines()
    assert not [line for line in said if line.startswith("right.py")], checked.stdout
    for number, (line, found) in enumerate(WRONG, start=3):
        errors = [each for each in said if each.startswith(f"wrong.py:{number}: error")]
        assert any(found in each for each in errors), f"{line}: {checked.stdout}{checked.stderr}"


def test_the_package_has_the_marker_of_typed_packages() -> None:
    assert (Path(bx.__file__).parent / "py.typed").is_file()


def test_choices_are_those_of_the_annotation() -> None:
    assert choices(DQN)["loss"] == tuple(LOSSES) == ("huber", "squared")
    assert choices(DQN)["recurrent"] == tuple(CELLS)
    assert choices(DQN)["network"] == choices(DQN)["optimizer"] == ()
    assert choices(bx.R2D2)["exploration"] == choices(DQN)["exploration"]
    assert choices(bx.QLearning)["exploration_schedule"] == ("linear", "exponential", "inverse", "per-episode")
    assert choices(DQN)["exploration_schedule"] == ("linear", "exponential")


def literals(function: Callable[..., object], name: str) -> set[str]:
    return set(get_args(get_type_hints(function)[name]))


def test_arguments_have_the_types_of_what_is_accepted() -> None:
    assert literals(bx.train, "if_exists") == set(IF_EXISTS) == {"error", "number", "resume", "replace"}
    assert literals(bx.train, "loop") == set(LOOPS) == {"auto", "compiled", "host"}
    assert literals(bx.train, "on_nonfinite") == set(choices(bx.RunOptions)["on_nonfinite"])
    assert literals(bx.solve, "method") == literals(bx.solve_soft, "method") == set(METHODS)
    for function in (bx.Run.policy, bx.evaluate, bx.collect):
        assert literals(function, "which") == set(WHICH) == {"final", "best"}
    fields = get_type_hints(bx.RunOptions)
    assert get_type_hints(Changes) == {name: fields[name] for name in fields.keys() - FIXED.keys() - {"data"}}


def test_every_name_among_the_settings_has_choices_but_for_two() -> None:
    for name in AGENTS:
        cls = agent_class(name)
        free = {field for field, names in choices(cls).items() if not names and isinstance(getattr(cls, field), str)}
        assert free <= {"network", "optimizer"}


@dataclass(frozen=True, kw_only=True)
class Parent(AgentConfig):
    manner: Literal["calm", "hasty"] = setting("calm", "how")


@dataclass(frozen=True, kw_only=True)
class Recipe(Parent):
    manner: str = with_default(Parent, "manner", "hasty")  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Free(Parent):
    manner: str = setting("any", "another sentence")  # type: ignore[assignment]


def test_a_recipe_has_the_choices_of_its_parent() -> None:
    assert build(Recipe, {"manner": " CALM"}).manner == "calm"
    with pytest.raises(bx.ConfigError, match=r"hastey.*hasty"):
        Recipe(manner="hastey")
    assert Free(manner="whatever").manner == "whatever"
