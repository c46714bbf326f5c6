"""Words of other libraries that a likeness of letters answers wrongly, and habits from them."""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bellmax as bx
from bellmax.catalog import agent_name, make_agent
from bellmax.contracts import counted

LEAVE_OUT = "leave it out"


@pytest.mark.parametrize(
    ("agent", "word", "value", "write"),
    [
        ("q-learning", "decay_rate", 0.005, "exploration_decay=..., the factor of ε after each episode"),
        ("dqn", "decay_rate", 0.005, "ε falls with the steps"),
        ("q-learning", "behavior", "boltzmann", "write exploration='boltzmann'"),
        ("q-learning", "softmax", True, "write exploration='boltzmann'"),
        ("q-learning", "q_table", None, "run.policy(0).table()"),
        ("q-learning", "exp_name", "x", "out='runs/mine' names the folder of the run"),
        ("q-learning", "num_gpus", 0, LEAVE_OUT),
        ("q-learning", "framework", "torch", LEAVE_OUT),
        ("q-learning", "print_interval", 10, "records is how often to log"),
        ("q-learning", "load", "x", "bellmax.load(folder) reads it"),
        ("q-learning", "env_config", {"a": 1}, "write env_kwargs={'a': 1}"),
        ("dqn", "prioritized_replay_alpha", 0.6, "write priority_alpha=0.6"),
        ("dqn", "beta", 0.4, "write priority_beta=0.4"),
        ("q-learning", "beta", 0.4, LEAVE_OUT),
        ("dqn", "huber", True, "write loss='huber'"),
        ("dqn", "target_tau", 0.1, "write tau=0.1"),
        ("dqn", "soft_update", True, "write tau=0.005"),
        ("dqn", "soft_update", False, LEAVE_OUT),
        ("dqn", "clip_rewards", True, "write reward_clip=1.0"),
        ("dqn", "frame_stack", 4, "write wrappers=[{'name': 'FrameStackObservation', 'stack_size': 4}]"),
        ("dqn", "estimation_step", 3, "write n_steps=3"),
        ("dqn", "save_freq", 10, "saves itself"),
        ("dqn", "checkpoint_freq", 10, "saves itself"),
        ("dqn", "replay_buffer_class", None, "follows from the agent's settings"),
        ("dqn", "target_score", 195, "bx.stop_at(score)"),
        ("dqn", "epoch", 10, "give steps"),
        ("dqn", "normalize_reward", True, "reward_scale"),
    ],
)
def test_words_that_letters_alone_answer_wrongly(agent: str, word: str, value: object, write: str) -> None:
    with pytest.raises(bx.ConfigError) as caught:
        make_agent(agent, "", {word: value})
    assert write in str(caught.value)


@pytest.mark.parametrize("word", ["bogus", "chicken", "rollout_fragment_length"])
def test_what_is_like_nothing_is_answered_by_a_list(word: str) -> None:
    with pytest.raises(bx.ConfigError, match="known: adam_epsilon, anneal_interval, "):
        make_agent("dqn", "", {word: 1})


class Misnamed(gym.Env[int, int]):
    """Its masks have another name."""

    observation_space: Any = gym.spaces.Discrete(4)
    action_space: Any = gym.spaces.Discrete(3)
    name, value = "action_masks", np.array([1, 1, 0], np.int8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return 0, {self.name: self.value}

    def step(self, action: int) -> Any:
        self.t += 1
        return 0, 1.0, False, self.t >= 9, {self.name: self.value}


class Sized(Misnamed):
    """An environment with an argument of its own, and one that is also a setting of an agent."""

    name = "lives"

    def __init__(self, width: int = 3, gamma: float = 0.5) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("world", "name", "value"),
    [("FrozenLake-v1", "is_slippery", False), ("FrozenLake-v1", "map_name", "8x8"), ("chain", "n_states", 3),
     (Sized, "width", 3), (Sized, "width", "3")],
)  # fmt: skip
def test_arguments_of_the_environment_are_told_from_settings(world: Any, name: str, value: Any) -> None:
    with pytest.raises(bx.ConfigError) as caught:
        bx.train(world, "q-learning", steps=100, **{name: value}, alpha=0.1)
    assert f"{name!r} is an argument of the environment: write env_kwargs={{{name!r}: {value!r}}}".replace(
        "'3'", "3"
    ) in str(caught.value)
    assert "learning_rate=0.1" in str(caught.value), "the others are told as well"
    assert f"unknown hyper-parameter {name!r}" not in str(caught.value)


def test_a_setting_of_the_agent_stays_one() -> None:
    run = bx.train(Sized, "q-learning", steps=50, gamma=0.5, final_episodes=0)
    assert run.config.gamma == 0.5


@pytest.mark.parametrize(
    ("written", "said"),
    [("dueling-dqn", "dueling=True"), ("D3QN", "double=True, dueling=True"), ("PER", "prioritized=True"),
     ("noisy-dqn", "noisy=True"), ("value-iteration", "bellmax.solve"), ("policy_iteration", "bellmax.solve"),
     ("random", "bellmax.evaluate"), ("Q(λ)", "watkins-q or peng-q"), ("TD(0)", "sarsa"),
     ("eps-greedy", "exploration="),
     ("MuZero", "dyna-q"), ("bandit", "known: bcq"), ("nfq", "known: bcq"), ("human", "gymnasium.utils.play")],
)  # fmt: skip
def test_agents_by_what_they_are_elsewhere(written: str, said: str) -> None:
    with pytest.raises(bx.ConfigError) as caught:
        agent_name(written)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("q(σ)", "q-sigma"), ("Rainbow DQN", "rainbow"), ("discrete-bcq", "bcq"), ("TD-lambda", "sarsa-lambda"),
     ("Dyna", "dyna-q"), ("tabular", "q-learning"), ("first-visit MC", "monte-carlo")],
)  # fmt: skip
def test_more_spellings_of_agents(written: str, meant: str) -> None:
    assert agent_name(written) == meant


@pytest.mark.parametrize(
    ("name", "said"),
    [("PPO", "use bellmax.DQN"), ("qlearning", "did you mean 'QLearning'"), ("Train", "did you mean 'train'"),
     ("value_iteration", "bellmax.solve"), ("make", "gymnasium.make"), ("DoubleDQN", "double=True"),
     ("MDP", "bellmax.FiniteMDP")],
)  # fmt: skip
def test_names_that_the_package_does_not_have(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'") as caught:
        getattr(bx, name)
    assert said in str(caught.value)
    with pytest.raises(AttributeError, match=r"no attribute '__wrapped__'$"):
        bx.__wrapped__  # noqa: B018


def test_habits_with_policies_and_agents(tmp_path: Path) -> None:
    run = bx.train("corridor", "q-learning", steps=200, final_episodes=0, out=tmp_path / "run")
    policy = run.policy(0)
    for name, said in (("predict", "policy.act(obs)"), ("evaluate", "bellmax.evaluate"), ("worlds", "'world'")):
        with pytest.raises(AttributeError) as caught:
            getattr(policy, name)
        assert said in str(caught.value)
    for name, said in (("learn", "bellmax.train"), ("predict", "act(obs)"), ("gama", "'gamma'")):
        with pytest.raises(AttributeError) as caught:
            getattr(bx.QLearning(), name)
        assert said in str(caught.value)
    assert not hasattr(policy, "predict")

    policy.save(tmp_path / "mine")
    for path in ("mine", "mine.json", "mine.safetensors"):
        with pytest.raises(bx.ConfigError, match=r"is a policy, not the folder of a run; use bellmax.load_policy"):
            bx.load(tmp_path / path)
    with pytest.raises(bx.ConfigError, match="is a folder, not a policy; policies in it: seed-0-best, seed-0-final"):
        bx.load_policy(tmp_path / "run" / "policies")


def test_one_is_singular() -> None:
    assert [counted(n, "seed") for n in (0, 1, 2, 1000)] == ["0 seeds", "1 seed", "2 seeds", "1,000 seeds"]
    said: list[str] = []
    run = bx.train("corridor", "q-learning", steps=200, final_episodes=0, say=said.append)
    assert any("200 steps x 1 seed, " in line for line in said)
    assert "records of 1 seed," in repr(run.history)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("action_masks", [1, 1, 0], True), ("mask", np.ones(3), True), ("legal_actions", [0, 1], True),
     ("avail_actions", [1, 1, 0], True), ("valid_moves", {0}, True), ("lives", np.ones(3), False),
     ("mask", np.ones(2), False), ("mask", object(), False)],
)  # fmt: skip
@pytest.mark.parametrize("agent", ["q-learning"])
def test_a_mask_by_another_name_is_told(name: str, value: Any, told: bool, agent: str) -> None:
    cls = type("Own", (Misnamed,), {"name": name, "value": value})
    if told:
        with pytest.warns(bx.EnvWarning, match=rf"info\['{name}'\] looks like .*return info\['action_mask'\]"):
            bx.train(cls, agent, steps=30, final_episodes=0)
    else:
        bx.train(cls, agent, steps=30, final_episodes=0)


MODULE = """
import gymnasium as gym
class Own(gym.Env):
    def __init__(self, size=3): pass
here = Own()
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [("ownenvs.Own", "did you mean 'ownenvs:Own'"), ("ownenvs.py:Own", "write 'ownenvs:Own'"),
     ("ownenvs", "did you mean 'ownenvs:CLASS'"), ("ownenvs.py", "did you mean 'ownenvs:CLASS'"),
     ("ownenvs:here", "'ownenvs:here' is an Own; name a class")],
)  # fmt: skip
def test_the_way_to_a_class_of_ones_own(written: str, said: str, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "ownenvs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ownenvs", raising=False)
    with pytest.raises(bx.ConfigError) as caught:
        bx.train(written, "q-learning", steps=10)
    assert said in str(caught.value)
    with pytest.raises(bx.ConfigError, match="did you mean 'size'"):
        bx.train("ownenvs:Own", "q-learning", steps=10, env_kwargs={"sise": 4})


class Shifted(Misnamed):
    """Its states and actions do not count from 0."""

    observation_space: Any = gym.spaces.Dict(ace=gym.spaces.Discrete(2), sum=gym.spaces.Discrete(4, start=3))
    action_space: Any = gym.spaces.Discrete(3, start=5, dtype=np.int32)
    name = "lives"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.t += 1
        return self.observation_space.sample(), 1.0, False, self.t >= 9, {}


def test_observations_are_the_environments_own() -> None:
    policy = bx.train(Shifted, "q-learning", steps=100, final_episodes=0).policy()
    with pytest.raises(bx.ConfigError, match="is outside the integers from 0 to 3, counted from the start of"):
        policy.act({"ace": 1, "sum": 7})
    assert Shifted.action_space.contains(policy.act({"ace": 1, "sum": 6}))
    assert policy.act({"ace": True, "sum": 3}) == policy.act({"ace": 1, "sum": 3}), "a flag is 0 or 1"
    with pytest.raises(bx.ConfigError, match=r"observation np.int64\(-2\) is outside"):
        policy.act({"ace": 1, "sum": True})
