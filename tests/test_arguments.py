"""What public functions are given: NumPy's numbers are numbers, and what is none is named."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.agent_config import hints
from bellmax.arguments import integer, is_integer, is_number, path_of, real
from bellmax.catalog import AGENTS, agent_class

CLIFF = bx.cliff()


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8, np.array])
def test_integers(kind: object) -> None:
    value = integer("steps", kind(5))  # type: ignore[operator]
    assert value == 5
    assert type(value) is int


@pytest.mark.parametrize("value", [True, np.True_, 2.5, "5", None, [5], np.array([5]), float("nan"), float("inf"), 0])
def test_what_is_no_positive_integer(value: object) -> None:
    with pytest.raises(bx.ConfigError, match=r"^`steps` must be a positive integer; got"):
        integer("steps", value)


def test_a_whole_float_is_an_integer() -> None:
    assert (integer("steps", 1e5), type(integer("steps", np.float32(8)))) == (100_000, int)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array, np.int64])
def test_numbers(kind: object) -> None:
    assert type(real("gamma", kind(1), 0.0, 1.0)) is float  # type: ignore[operator]


@pytest.mark.parametrize("value", [True, "0.9", None, [0.9], 1 + 0j])
def test_what_is_no_number(value: object) -> None:
    assert not is_number(value)
    assert not is_integer(value)
    with pytest.raises(bx.ConfigError, match=r"^`gamma` must be a number; got"):
        real("gamma", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [None, 3, b"x", "", ["x"]])
def test_what_is_no_path(value: object) -> None:
    with pytest.raises(bx.ConfigError, match=r"^`out` must be a path; got"):
        path_of("out", value)


@pytest.mark.parametrize(
    ("call", "what"),
    {
        "steps": (lambda: bx.train("Taxi-v4", "q-learning", 1000), "write steps=1000"),
        "random steps": (lambda: bx.check_env("CartPole-v1", 100), "one argument .* write steps=100"),
        "mistyped steps": (lambda: bx.check_env("CartPole-v1", stepps=3), "no argument 'stepps'; did you mean 'steps'"),
        "mistyped tolerance": (lambda: bx.solve(CLIFF, 0.9, tolerence=1e-3), "'tolerence'; did you mean 'tolerance'"),
        "far from any": (lambda: bx.evaluate("run", misplaced=3), r"`help\(bellmax.evaluate\)` lists them"),
        "word of random steps": (lambda: bx.check_env("CartPole-v1", n_steps=100), "write steps=100"),
        "method": (lambda: bx.solve(CLIFF, 0.9, "policy-iteration"), "write method='policy-iteration'"),
        "word of gamma": (lambda: bx.solve(CLIFF, discount=0.9), "write gamma=0.9"),
        "no gamma": (lambda: bx.solve(CLIFF), "give gamma, .* such as gamma=0.99"),
        "two arrays": (lambda: bx.solve(np.ones((2, 1, 2)), np.ones((2, 1)), 0.9), "FiniteMDP.from_arrays"),
        "no gamma of a policy": (lambda: bx.evaluate_policy(CLIFF, np.zeros(48, int)), "give gamma"),
        "method of a policy": (lambda: bx.evaluate_policy(CLIFF, np.zeros(48), 0.9, "direct"), "write method='direct'"),
        "agent": (lambda: bx.DQN("MlpPolicy", "CartPole-v1"), r"got 'MlpPolicy'.*bellmax.train\(environment, agent"),
        "table": (lambda: bx.QLearning("Taxi-v4"), "got 'Taxi-v4'"),
    }.values(),
)
def test_a_call_as_in_other_libraries_says_what_to_write(call: Callable[[], object], what: str) -> None:
    with pytest.raises(bx.ConfigError, match=what):
        call()


def test_an_agent_is_played_and_not_solved() -> None:
    policy = bx.train("corridor", "q-learning", steps=20, final_episodes=0).policy(0)
    with pytest.raises(bx.ConfigError, match=r"bellmax.evaluate\(policy, environment\) plays"):
        bx.evaluate_policy(policy, "corridor")  # type: ignore[arg-type]


def test_a_home_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(bx.ConfigError, match="no_such_user_here"):
        path_of("out", "~no_such_user_here/x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("out", "~/x") == tmp_path / "x"


@pytest.mark.parametrize("name", AGENTS)
def test_every_setting_takes_numpys_numbers_and_keeps_pythons(name: str) -> None:
    cls = agent_class(name)
    default = cls()
    kinds = {int: np.int64, float: np.float64, bool: np.bool_, str: np.str_}

    def numpys(value: object) -> object:
        return tuple(map(np.int64, value)) if isinstance(value, tuple) else kinds[type(value)](value)

    as_numpy = {key: numpys(getattr(default, key)) for key in hints(cls)}
    config = cls(**as_numpy)
    assert config == default
    assert hash(config) == hash(default)
    assert json.dumps(dataclasses.asdict(config)) == json.dumps(dataclasses.asdict(default))


FIVE, HALF = np.int64(5), np.float32(0.5)
WITH_NUMPYS = {
    "solve": lambda: bx.solve(CLIFF, HALF, tolerance=np.float64(1e-6), max_iterations=np.int32(100)),
    "solve_soft": lambda: bx.solve_soft(CLIFF, HALF, HALF),
    "solve_horizon": lambda: bx.solve_horizon(CLIFF, FIVE, HALF),
    "evaluate_policy": lambda: bx.evaluate_policy(CLIFF, np.zeros(48, int), HALF),
    "horizon_return": lambda: bx.horizon_return(CLIFF, np.zeros(48, int), FIVE, HALF),
    "train": lambda: bx.train(
        "cliff", bx.QLearning(gamma=HALF), steps=np.int64(200), seeds=np.array([3, 4]), records=FIVE,
        eval_episodes=np.int8(1), final_episodes=np.int8(1), keep_episodes=FIVE,
    ),
    "seeds": lambda: bx.train("cliff", "q-learning", steps=FIVE, seeds=np.uint8(2), learning_rate=HALF),
    "evaluate": lambda: bx.evaluate(
        bx.train("cliff", "q-learning", steps=50).policy(), episodes=np.int64(2), seed=np.uint32(3)
    ),
    "collect": lambda: bx.collect(None, "CartPole-v1", steps=np.int64(5), seed=np.int16(1), epsilon=HALF),
}  # fmt: skip


@pytest.mark.parametrize("case", WITH_NUMPYS)
def test_public_functions_take_numpys_numbers(case: str) -> None:
    WITH_NUMPYS[case]()


NO_NUMBER = {
    "gamma": (lambda: bx.solve(CLIFF, "0.9"), "`gamma` must be a number; got '0.9'"),
    "gamma in an array": (lambda: bx.solve(CLIFF, [0.9]), "`gamma` must be a number"),
    "horizon": (lambda: bx.solve_horizon(CLIFF, 10.5), "`horizon` must be a non-negative integer; got 10.5"),
    "tolerance": (lambda: bx.solve(CLIFF, 0.9, tolerance="tiny"), "`tolerance` must be a number; got 'tiny'"),
    "iterations": (lambda: bx.solve(CLIFF, 0.9, max_iterations=2.5), "`max_iterations` must be a positive integer"),
    "steps": (lambda: bx.train("cliff", "q-learning", steps=2.5), "`steps` must be a positive integer; got 2.5"),
    "steps as words": (lambda: bx.train("cliff", "q-learning", steps="many"), "`steps` must be a positive integer"),
    "seeds": (lambda: bx.train("cliff", "q-learning", seeds="three"), "`seeds` must be how many seeds"),
    "seeds that are none": (lambda: bx.train("cliff", "q-learning", seeds=None), "`seeds` must be how many seeds"),
    "episodes": (lambda: bx.evaluate(bx.train("cliff", "q-learning", steps=50).policy(), episodes="9"), "`episodes`"),
    "setting": (lambda: bx.QLearning(learning_rate="fast"), "learning_rate='fast' is not of type float"),
}


@pytest.mark.parametrize("case", NO_NUMBER)
def test_what_is_no_number_is_named(case: str) -> None:
    call, message = NO_NUMBER[case]
    with pytest.raises(bx.ConfigError, match=message):
        call()
