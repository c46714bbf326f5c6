"""`evaluate` and `collect` use whatever may act, and say what they want where they get something else."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bellmax as bx

EXACT = bx.solve(bx.cliff(), 0.9)
ROUTE = -13.0  # of the shortest path along the cliff
QUICK = {"steps": 400, "eval_episodes": 0, "final_episodes": 2, "records": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bx.Run:
    folder = tmp_path_factory.mktemp("who") / "runs" / "cliff"
    return bx.train("cliff", "q-learning", steps=20_000, seeds=3, records=2, final_episodes=1, out=folder, gamma=0.9,
                    learning_rate=0.5)  # fmt: skip


def optimal(obs: Any) -> int:
    return int(EXACT.policy[obs])


ACTS: dict[str, Any] = {
    "a solution": lambda run: (EXACT, "cliff"),
    "its actions": lambda run: (EXACT.policy, "cliff"),
    "its actions, as a list": lambda run: (EXACT.policy.tolist(), bx.cliff()),
    "a function": lambda run: (optimal, "cliff"),
    "a function of NumPy's": lambda run: (lambda obs: np.int64(EXACT.policy[obs]), "cliff"),
    "a method": lambda run: (SimpleNamespace(act=optimal).act, "cliff"),
    "a policy": lambda run: (run.policy(1), None),
    "a policy elsewhere": lambda run: (run.policy(1), "cliff"),
    "a folder": lambda run: (str(run.folder), None),
    "a folder as a path": lambda run: (run.folder, "cliff"),
    "a policy's file": lambda run: (run.folder / "policies" / "seed-1-final", None),
    "a policy's file by its suffix": lambda run: (str(run.folder / "policies" / "seed-1-best.json"), None),
}


@pytest.mark.parametrize("case", ACTS)
def test_whatever_may_act(case: str, run: bx.Run) -> None:
    given, world = ACTS[case](run)
    played = bx.evaluate(given, world, episodes=3)
    n = 3 * len(run.seeds) if "folder" in case else 3
    assert played.returns.tolist() == [ROUTE] * n
    assert played.lengths.tolist() == [13] * n


def test_a_run_plays_with_all_its_seeds(run: bx.Run) -> None:
    whole = bx.evaluate(run, episodes=2, seed=5)
    parts = [bx.evaluate(run.policy(s), episodes=2, seed=5 + i) for i, s in enumerate(run.seeds)]
    np.testing.assert_array_equal(whole.returns, np.concatenate([part.returns for part in parts]))
    assert bx.evaluate(run, which="best", episodes=2).returns.size == 6


def test_a_function_plays_in_gymnasium_and_in_compiled_worlds() -> None:
    assert bx.evaluate(lambda obs: int(obs[2] > 0), "CartPole-v1", episodes=3).mean_return > 20
    seen = []
    played = bx.evaluate(lambda obs: seen.append(obs) or 0, "probe:delay", episodes=4)
    assert played.lengths.size == 4
    assert np.isfinite(played.returns).all()
    assert all(np.shape(obs) == np.shape(seen[0]) for obs in seen)
    blackjack = bx.evaluate(lambda obs: int(obs[0] < 18), "Blackjack-v1", episodes=5)
    assert set(blackjack.returns) <= {-1.0, 0.0, 1.0}


def test_a_function_sees_names() -> None:
    class Named(gym.Env):
        observation_space = gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": gym.spaces.Box(-1, 1, (2,))})
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return {"a": 1, "b": np.zeros(2, np.float32)}, {}

        def step(self, a: int) -> Any:
            return {"a": 2, "b": np.ones(2, np.float32)}, float(a), True, False, {}

    assert bx.evaluate(lambda obs: int(obs["a"] == 1), Named, episodes=2).returns.tolist() == [1.0, 1.0]


class Shifted(gym.Env):
    """States 3 and 4; the right action is (5, 7) in 3 and (6, 9) in 4."""

    observation_space = gym.spaces.Discrete(2, start=3)
    action_space = gym.spaces.MultiDiscrete([2, 3], start=[5, 7])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state, self.t = 3, 0
        return self.state, {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        right = tuple(action.tolist()) == ((5, 7) if self.state == 3 else (6, 9))
        self.state, self.t = 7 - self.state, self.t + 1
        return self.state, float(right), False, self.t == 6, {}


def test_a_function_and_a_policy_act_in_the_environments_own_numbers() -> None:
    best = bx.evaluate(lambda obs: [5, 7] if obs == 3 else np.array([6, 9]), Shifted, episodes=2)
    assert best.returns.tolist() == [6.0, 6.0]
    run = bx.train(Shifted, "q-learning", steps=3_000, gamma=0.0, learning_rate=0.5, final_episodes=2)
    assert run.scores == [6.0]
    assert run.policy().act(4).tolist() == [6, 9]
    assert bx.evaluate(run.policy().act, Shifted, episodes=2).returns.tolist() == [6.0, 6.0]
    for wrong in (0, [5], [4, 7], [5, 10], [5, [7]], 5.0, None):
        with pytest.raises(bx.ConfigError, match=r"integers from \[5, 7\] to \[6, 9\]"):
            bx.evaluate(lambda obs, wrong=wrong: wrong, Shifted, episodes=1)


def test_collect_with_whatever_may_act(run: bx.Run) -> None:
    data = bx.collect(lambda obs: 0, "CartPole-v1", steps=100)
    assert (data.steps, set(data.action.tolist())) == (100, {0})
    assert bx.collect(EXACT, "cliff", steps=26).returns().tolist() == [ROUTE, ROUTE]
    assert bx.collect(lambda obs: 0, "probe:delay", steps=7).action.tolist() == [0] * 7
    mixed = bx.collect(lambda obs: 0, "CartPole-v1", steps=300, epsilon=0.5)
    assert 0.1 < mixed.action.mean() < 0.4
    with pytest.raises(bx.ConfigError, match=r"the run has 3 policies; pass one of them: run.policy\(seed\)"):
        bx.collect(run, steps=5)


class Model:
    """As of Stable-Baselines3."""

    def predict(self, obs: Any) -> Any:
        return np.array(1), None


WRONG: dict[str, tuple[Any, str]] = {
    "no run": (lambda run: bx.evaluate("runs/x"), "'runs/x' is neither the folder of a run nor a policy's file"),
    "nearly a run": (lambda run: bx.evaluate(f"{run.folder}s"), "did you mean '.*cliff'"),
    "an id": (lambda run: bx.evaluate("CartPole-v1"), "neither the folder of a run"),
    "swapped": (lambda run: bx.evaluate("cliff", run.policy(0)), r"comes first: bx.evaluate\(policy, 'cliff'"),
    "swapped run": (lambda run: bx.evaluate("cliff", run), "the policy comes first"),
    "no world": (lambda run: bx.evaluate(lambda obs: 0), "needs an environment"),
    "actions without a world": (lambda run: bx.evaluate(EXACT.policy), "needs an environment"),
    "a number": (lambda run: bx.evaluate(3, "cliff"), "`policy` must be a policy, a run, .*; got 3"),
    "nothing": (lambda run: bx.evaluate(None, "cliff"), "`policy` must be a policy.*; got None"),
    "an environment": (lambda run: bx.evaluate(gym.make("CartPole-v1"), "x"), "the environment comes second"),
    "a model": (lambda run: bx.evaluate(Model(), "CartPole-v1"), r"lambda obs: model.predict\(obs\)\[0\]"),
    "its predict": (lambda run: bx.evaluate(Model().predict, "CartPole-v1"), r"model.predict\(obs\)\[0\]"),
    "a third": (lambda run: bx.evaluate(run, "cliff", 10), "write episodes=10"),
    "their word": (lambda run: bx.evaluate(run, "cliff", n_eval_episodes=10), "write episodes=10"),
    "deterministic": (lambda run: bx.evaluate(run, deterministic=True), "always acts greedily"),
    "another word": (lambda run: bx.evaluate(run, render=True), "no argument 'render'"),
    "which": (lambda run: bx.evaluate(run, which="last"), "`which` must be 'final' or 'best'; got 'last'"),
    "which of one": (lambda run: bx.evaluate(run.policy(0), which="best"), "is for a run"),
    "too many actions": (lambda run: bx.evaluate(np.zeros(49, int), "cliff"), "49 actions for the 48 states"),
    "values": (lambda run: bx.evaluate(EXACT.q, "cliff"), r"pass .argmax\(axis=1\)"),
    "no action": (lambda run: bx.evaluate(np.full(48, 4), "cliff"), "state 0 does not have the action 4"),
    "actions for numbers": (lambda run: bx.evaluate([0, 1], "CartPole-v1"), "pass a function of observations"),
    "a horizon": (lambda run: bx.evaluate(bx.solve_horizon(bx.cliff(), 9), "cliff"), "see horizon_return"),
    "returns nothing": (lambda run: bx.evaluate(lambda obs: None, "cliff"), "the function returned None"),
    "returns too much": (lambda run: bx.evaluate(lambda obs: 4, "cliff"), "an integer from 0 to 3"),
    "collect's third": (lambda run: bx.collect(None, "cliff", 10, steps=3), "write steps=10"),
    "collect without": (lambda run: bx.collect(None, steps=3), "without a policy, pass an environment"),
    "train a run": (lambda run: bx.train(run, "dqn"), "a Run is not an environment; give the one it is of, 'cliff'"),
    "train a policy": (lambda run: bx.train(run.policy(0), "dqn"), "a Policy is not an environment"),
    "train an agent": (lambda run: bx.train(bx.DQN(), "CartPole-v1"), "a DQN is an agent; the environment comes first"),
    "train a number": (lambda run: bx.train(3, "dqn"), "3 is not an environment"),
    "check a run": (lambda run: bx.check_env(run), "a Run is not an environment"),
    "check so long": (lambda run: bx.check_env("cliff", steps=2.5), "`steps` must be a positive integer; got 2.5"),
    "no dictionary": (lambda run: bx.train("cliff", "q-learning", env_kwargs=[1]), "`env_kwargs` must be a dictionary"),
    "load a run": (lambda run: bx.load(run), "`folder` must be a path; got a Run"),
    "resume a run": (lambda run: bx.resume(run), "`folder` must be a path; got a Run"),
    "load a policy's file": (lambda run: bx.load_policy(run.folder), "is the folder of a run, not a policy"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wanted_is_said(case: str, run: bx.Run) -> None:
    call, message = WRONG[case]
    with pytest.raises(bx.ConfigError, match=message) as caught:
        call(run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_policy_is_saved_alone_and_acts_the_same_elsewhere(run: bx.Run, tmp_path: Path) -> None:
    policy = run.policy(2)
    for path in (str(tmp_path / "one"), tmp_path / "two.safetensors", str(tmp_path / "new" / "v1.5"), "~/mine.json"):
        policy.save(path)
        again = bx.load_policy(path)
        np.testing.assert_array_equal(again.act(np.arange(48)), policy.act(np.arange(48)))
    assert (tmp_path / "new" / "v1.5.json").exists()
    assert (tmp_path / "two.json").exists()
    code = f"import bellmax as bx; p = bx.load_policy({str(tmp_path / 'one')!r}); print([p.act(s) for s in range(48)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([policy.act(s) for s in range(48)])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_home_is_where_it_is_meant(home: Path) -> None:
    run = bx.train("cliff", "q-learning", steps=200, final_episodes=1, out="~/x")
    assert run.folder == home / "x"
    assert not Path("~").exists()
    assert bx.load("~/x").policy().act(0) == run.policy().act(0)
    assert bx.evaluate("~/x", episodes=1).returns.size == 1
    bx.collect(None, "CartPole-v1", steps=60).save("~/data.safetensors")
    assert bx.Dataset.load("~/data.safetensors").steps == 60
    bx.train("CartPole-v1", "cql", data="~/data.safetensors", steps=10, batch_size=8, learning_starts=0,
             eval_episodes=0, final_episodes=0)  # fmt: skip
    with pytest.raises(bx.ConfigError, match="has ended"):
        bx.resume("~/x")


MISSING: dict[str, tuple[Any, str]] = {
    "policy": (lambda: bx.load_policy("nowhere"), "no policy 'nowhere'"),
    "policy among others": (lambda: bx.load_policy("here2"), "policies there: here"),
    "no path": (lambda: bx.load_policy(3), "`path` must be a path; got 3"),
    "run": (lambda: bx.load("nowhere"), "no run in nowhere"),
    "data": (lambda: bx.Dataset.load("nowhere.safetensors"), "no data file"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_named(case: str, run: bx.Run) -> None:
    run.policy(0).save("here")
    call, message = MISSING[case]
    with pytest.raises(bx.ConfigError, match=message):
        call()
