"""Words that newcomers type: each is understood, or answered by the word to write. Remedies work as printed."""

import copy
import inspect
import json
import pickle
import re
import shlex
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.agent_config import hints
from bellmax.catalog import AGENTS, PRESETS, agent_class, agent_name, make_agent
from bellmax.cli import main
from bellmax.contracts import MOST_LISTED, nearest, unknown
from bellmax.envs.naming import ATARI, MINATAR, id_meant
from bellmax.envs.native_spaces import _finite
from bellmax.sources import find_world
from bellmax.words import OPTIONS, WORDS

ALL_SETTINGS = {name for agent in AGENTS for name in hints(agent_class(agent))}


def complaint(agent: object, **values: object) -> str:
    with pytest.raises(bx.ConfigError) as caught:
        make_agent(agent, "", values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# hyper-parameters


@pytest.mark.parametrize(
    ("agent", "word", "value", "write"),
    [
        ("q-learning", "alpha", 0.1, "learning_rate=0.1"),
        ("dqn", "lr", 1e-3, "learning_rate=0.001"),
        ("dqn", "LR", 1e-3, "learning_rate=0.001"),
        ("q-learning", "discount_factor", 0.9, "gamma=0.9"),
        ("q-learning", "epsilon", 0.1, "exploration_initial_eps=0.1, exploration_final_eps=0.1"),
        ("q-learning", "min_epsilon", 0.01, "exploration_final_eps=0.01"),
        ("dqn", "epsilon_start", 1.0, "exploration_initial_eps=1.0"),
        ("dqn", "epsilon_decay", 0.995, "exploration_fraction"),
        ("dqn", "seed", 3, "seeds=[3]"),
        ("dqn", "total_timesteps", 100, "steps=100"),
        ("dqn", "policy", "MlpPolicy", "net_arch"),
        ("dqn", "device", "cuda", "JAX_PLATFORMS"),
        ("dqn", "verbose", 1, "say=print"),
        ("dqn", "env_id", "CartPole-v1", "the environment is the first argument"),
        ("dqn", "memory_size", 10_000, "buffer_size=10000"),
        ("q-learning", "memory_size", 10_000, "bellmax calls it buffer_size=10000, which this agent does not have"),
        ("dqn", "hidden_sizes", [256, 128, 64], "net_arch=(256, 128, 64)"),
        ("dqn", "hidden_dim", 128, "net_arch=(128, 128)"),
        ("dqn", "hidden_layers", 2, "net_arch=(64, 64)"),
        ("dqn", "policy_kwargs", {"net_arch": [32, 16]}, "net_arch=(32, 16)"),
        ("dqn", "render", True, "env_kwargs={'render_mode': 'human'}"),
        ("dqn", "render_mode", "rgb_array", "env_kwargs={'render_mode': 'rgb_array'}"),
        ("q-learning", "hidden_sizes", [64, 64], "a table has no layers"),
        ("dqn", "n_envs", 4, "num_envs=4"),
        ("dqn", "target_update", 10, "target_update_interval=10, in environment steps"),
        ("dqn", "alhpa", 0.1, "if you mean alpha: write learning_rate=0.1"),
        ("dqn", "learning_rat", 0.1, "did you mean 'learning_rate'?"),
        ("dqn", "GAMMA", 0.1, "did you mean 'gamma'?"),
        ("dqn", "stepz", 10, "did you mean 'steps'?"),
        ("dqn", "bins", 4, "agents that have it: q-learning, "),
        ("q-learning", "buffer_size", 4, "agents that have it: dqn, "),
    ],
)
def test_a_word_of_others_is_answered_by_ours(agent: str, word: str, value: object, write: str) -> None:
    assert write in complaint(agent, **{word: value})


def test_every_line_of_the_table_names_only_what_there_is() -> None:
    """And no word of others hides a setting of ours."""
    assert not WORDS.keys() & (ALL_SETTINGS | OPTIONS.keys())
    for word, lines in WORDS.items():
        assert word == word.lower()
        for line in lines:
            names = re.findall(r"\b([a-z_]+)=", line)
            assert set(names) <= ALL_SETTINGS | OPTIONS.keys(), (word, line)
            line.format("value")


@pytest.mark.parametrize("agent", ["q-learning", "sarsa-lambda", "dqn", "pqn"])
def test_what_the_table_says_to_write_is_accepted(agent: str) -> None:
    """For each word with a setting of the agent, with its default as the value."""
    cls = agent_class(agent)
    tried = 0
    for word in WORDS:
        found = re.search(r"write ([a-z_]+)=", complaint(agent, **{word: 1}))
        if found and found[1] in hints(cls) and found[1] != "exploration_schedule":
            value = getattr(cls(), found[1])
            said = re.findall(
                r"([a-z_]+)=([^ ,(]+|\([^)]*\))", complaint(agent, **{word: value}).partition("write ")[2]
            )
            assert make_agent(agent, "", dict(said)) is not None, word
            tried += 1
    assert tried >= 10


def test_the_options_are_those_of_train() -> None:
    arguments = inspect.signature(bx.train).parameters
    assert OPTIONS.keys() == {name for name in arguments if name not in ("hyper_parameters", "misplaced")}
    flags = {flag for parameter in main.commands["train"].params for flag in parameter.opts}
    assert {flag for flag in OPTIONS.values() if flag and flag.startswith("--")} <= flags
    done = CliRunner().invoke(main, ["train", "corridor", "-a", "q-learning", "steps=5"])
    assert (done.exit_code, "--steps" in done.output) == (2, True)


def test_all_unknown_words_are_in_one_message() -> None:
    with pytest.raises(bx.ConfigError) as caught:
        bx.train("corridor", "q-learning", alpha=0.1, epsilon=0.2, n_episodes=3, gamma=2.0)
    for part in ("learning_rate=0.1", "exploration_final_eps=0.2", "'n_episodes'", "gamma=2.0 is outside"):
        assert part in str(caught.value)


def test_words_given_to_a_class() -> None:
    with pytest.raises(bx.ConfigError, match=r"write learning_rate=0.1.*did you mean 'gamma'"):
        bx.QLearning(alpha=0.1, gama=0.9)
    with pytest.raises(bx.ConfigError, match=r"steps is not a hyper-parameter but an argument of bx.train"):
        bx.DQN(steps=1000)
    with pytest.raises(bx.ConfigError, match=r"write learning_rate=0.1"):
        bx.train("corridor", bx.QLearning(), lr=0.1)
    with pytest.raises(bx.ConfigError, match=r"give gamma to QLearning\(...\)"):
        bx.train("corridor", bx.QLearning(), gamma=0.1)
    config = bx.DQN(gamma=0.5, net_arch=(3,))
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config  # noqa: S301 - our own
    with pytest.raises(bx.ConfigError, match=r"choose none, layer, spectral"):
        bx.DQN(normalization=None)


def test_words_on_the_command_line() -> None:
    done = CliRunner().invoke(main, ["train", "corridor", "-a", "q-learning", "total_timesteps=1e5", "alpha=0.1"])
    assert done.exit_code == 2
    assert "steps=1e5 (on the command line --steps)" in done.output
    assert "learning_rate=0.1" in done.output


# agents, optimizers and other names


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_in_any_spelling(name: str) -> None:
    for written in (name.upper(), name.title(), name.replace("-", "_"), name.replace("-", " "), name.replace("-", "")):
        assert agent_name(written) == name
    if name not in PRESETS:
        assert agent_name(AGENTS[name].__name__) == name
        cls = agent_class(name)
        assert make_agent(cls, "MountainCar-v0", {}) == make_agent(name, "MountainCar-v0", {})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Q-Learning", "q-learning"), ("q_learning", "q-learning"), ("DQN", "dqn"), ("ddqn", "double-dqn"),
     ("Double DQN", "double-dqn"), ("SARSA", "sarsa"), ("Sarsa(lambda)", "sarsa-lambda"), ("RMax", "r-max"),
     ("Dyna-Q+", "dyna-q-plus"), ("DYNAQ+", "dyna-q-plus"), ("dyna-q +", "dyna-q-plus"), ("Dyna-Q", "dyna-q"),
     ("SARSA(λ)", "sarsa-lambda")],
)  # fmt: skip
def test_other_names_of_agents(written: str, meant: str) -> None:
    assert agent_name(written) == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [("dnq", "did you mean 'dqn'?"), ("DNQ", "did you mean 'dqn'?"), ("q-lerning", "did you mean 'q-learning'?"),
     ("PPO", "bellmax learns action values, not policies; use dqn"), ("zzz", "known: bcq, ")],
)  # fmt: skip
def test_agents_that_there_are_not(written: str, said: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(said)):
        agent_name(written)


def test_classes_train_as_names_do() -> None:
    run = bx.train("corridor", bx.QLearning, steps=500, gamma=0.5, final_episodes=0)
    same = bx.train("corridor", "q_learning", steps=500, gamma=0.5, final_episodes=0)
    assert run.config == same.config == bx.QLearning(gamma=0.5)
    for wrong in (int, bx.World, None, 3):
        with pytest.raises(bx.ConfigError, match="is not an agent; give a name such as 'dqn'"):
            bx.train("corridor", wrong)


@pytest.mark.parametrize("written", ["Adam", "AdamW", "RMSprop", "SGD"])
def test_optimizers_in_any_case(written: str) -> None:
    assert bx.DQN(optimizer=written).optimizer == written.lower()
    assert make_agent("dqn", "", {"optimizer": written}).optimizer == written.lower()


def test_choices_in_any_case() -> None:
    assert bx.DQN(loss="Huber", exploration="Epsilon_Greedy") == bx.DQN(loss="huber")
    assert "did you mean 'huber'" in complaint("dqn", loss="Hubber")


def test_lists_are_cut_and_cases_do_not_matter() -> None:
    names = [f"name-{chr(97 + i) * 8}" for i in range(15)]
    said = unknown("thing", "zz", names)
    assert said.endswith("name-jjjjjjjj and 5 more")
    assert said.count(",") == MOST_LISTED - 1
    assert nearest("CARTPOLE-V1", ["CartPole-v1", "Acrobot-v1"]) == "CartPole-v1"
    assert nearest("dnq", AGENTS) == "dqn"


# environments


@pytest.mark.parametrize(
    ("written", "right"),
    [("FrozenLake-v0", "FrozenLake-v1"), ("frozenlake", "FrozenLake-v1"), ("CartPole", "CartPole-v1"),
     ("cartpole", "CartPole-v1"), ("cartpole-v1", "CartPole-v1"), ("CartPole-v9", "CartPole-v1"),
     ("LunarLander-v2", "LunarLander-v3"), ("PongNoFrameskip-v4", "ALE/Pong-v5"), ("Pong-v5", "ALE/Pong-v5"),
     ("BreakoutDeterministic-v4", "ALE/Breakout-v5"), ("MinAtar/Breakout-v1", "gymnax:Breakout-MinAtar"),
     ("clif", "cliff"), ("DynaMaze", "dyna-maze"), ("delay", "probe:delay"), ("MontainCar-v0", "MountainCar-v0")],
)  # fmt: skip
def test_ids_without_their_package_and_of_old_versions(written: str, right: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(f"'{written}'") + ".*" + re.escape(f"did you mean '{right}'?")):
        find_world(written)


def test_the_taxi_of_another_gymnasium() -> None:
    there = max(name for name in gym.registry if name.startswith("Taxi-v"))
    other = "Taxi-v3" if there != "Taxi-v3" else "Taxi-v2"
    with pytest.raises(bx.ConfigError, match=f"did you mean '{there}'.*does not have this version"):
        find_world(other)


def test_what_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    for name in [name for name in gym.registry if name.startswith("ALE/")]:
        monkeypatch.delitem(gym.registry, name)
    with pytest.raises(bx.ConfigError, match=re.escape("pip install 'bellmax[atari]'")):
        find_world("ALE/Pong-v5")
    assert "pip install highway-env" in id_meant("highway-fast-v0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert id_meant("Pong-v4") == "did you mean 'ALE/Pong-v5'? It needs pip install 'bellmax[atari]'"
    assert "pip install 'bellmax[gymnax]'" in id_meant("Breakout-MinAtar")


def test_the_games_exist() -> None:
    gym.register_envs(pytest.importorskip("ale_py"))
    assert all(f"ALE/{game}-v5" in gym.registry for game in ATARI)
    gymnax = pytest.importorskip("gymnax")
    assert all(f"{game}-MinAtar" in gymnax.registered_envs for game in MINATAR)


def test_an_agent_in_the_place_of_the_environment() -> None:
    with pytest.raises(bx.ConfigError, match="'dqn' is an agent; the environment comes first"):
        bx.train("dqn", "CartPole-v1")


def test_the_remedy_for_continuous_actions_works_as_printed(tmp_path: Path) -> None:
    world = "Pendulum-v1"
    with pytest.raises(bx.ConfigError) as caught:
        bx.train(world, "dqn", steps=100)
    said = str(caught.value)
    wrappers = re.search(r"give wrappers=(\[\{.*?\}\])", said)[1]
    assert find_world(world, {"wrappers": eval(wrappers)}).n_actions == 5  # noqa: S307 - as a user pastes it
    several = gym.spaces.Box(-1, 1, (4,))
    assert "for 625 actions" in _finite(several)
    assert "--wrapper" not in _finite(gym.spaces.Box(-1, 1, (40,)))  # too many
    assert "--wrapper" not in _finite(gym.spaces.Box(-np.inf, 1, (1,)))
    words = shlex.split(re.search(r"--wrapper '\{.*?\}'", said)[0])
    options = ["--steps", "200", "--eval-episodes", "0", "--final-episodes", "1", "--out", str(tmp_path / "run")]
    agent = ["-a", "q-learning", "bins=3", "obs_low=-1,-1,-8", "obs_high=1,1,8"]
    done = CliRunner().invoke(main, ["train", world, *words, *options, *agent])
    assert done.exit_code == 0, done.output


OWN = """
import gymnasium as gym
import bellmax as bx
from bellmax.envs.classic import cartpole

class Inventory(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}
    def step(self, action):
        self.t += 1
        return self.t % 3, float(action), False, self.t >= 10, {}

def model(n_states=5):
    return bx.corridor(n_states)

def pole():
    return cartpole()

shop = bx.corridor(4)
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, importable."""
    (tmp_path / "own_worlds.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_worlds", raising=False)
    return "own_worlds"


def test_functions_that_make_models_and_compiled_worlds(own: str, tmp_path: Path) -> None:
    source = find_world(f"{own}:model", {"n_states": 7})
    assert (source.name, source.mdp.n_states) == (f"{own}:model", 7)
    assert find_world(f"{own}:shop").mdp.n_states == 4
    assert find_world(f"{own}:pole").compiled is not None
    run = bx.train(f"{own}:model", "q-learning", steps=500, final_episodes=2, out=tmp_path / "run")
    assert run.loop == "compiled"
    assert bx.evaluate(bx.load(tmp_path / "run").policy(), f"{own}:model", episodes=2).mean_return == run.scores[0]
    with pytest.raises(bx.UnsafeFile, match="only the saved file names it"):
        bx.evaluate(bx.load(tmp_path / "run").policy(), episodes=2)
    import own_worlds

    assert bx.train(own_worlds.model, "q-learning", steps=500, final_episodes=0).loop == "compiled"
    assert bx.train(bx.cliff, "q-learning", steps=500, final_episodes=0).world == "<cliff>"
    assert find_world(own_worlds.model, {"n_states": 9}).mdp.n_states == 9
    assert find_world(own_worlds.pole).compiled is not None
    with pytest.raises(bx.ConfigError, match="wrappers need a Gymnasium environment"):
        bx.train(own_worlds.model, "q-learning", steps=500, wrappers=["FlattenObservation"])


def test_a_module_that_lacks_the_class(own: str) -> None:
    for written, right in (("Inventry", "Inventory"), ("INVENTORY", "Inventory"), ("modell", "model")):
        with pytest.raises(bx.ConfigError, match=f"has no '{written}'; did you mean '{own}:{right}'"):
            find_world(f"{own}:{written}")
    with pytest.raises(bx.ConfigError, match="the module has Inventory, model, pole"):
        find_world(f"{own}:zzzzzzzz")


def test_a_module_that_lacks_the_wrapper(own: str) -> None:
    with pytest.raises(bx.ConfigError, match=f"has no 'Inventry'; did you mean '{own}:Inventory'"):
        find_world("CartPole-v1", {"wrappers": [f"{own}:Inventry"]})


def test_a_constructor_that_wants_arguments(own: str) -> None:
    with pytest.raises(bx.ConfigError, match=r"missing 1 required .* on the command line --env KEY=VALUE"):
        find_world("json:dumps")


def test_solve_and_check_env_of_ones_own(own: str) -> None:
    done = CliRunner().invoke(main, ["solve", f"{own}:model", "--env", "n_states=3", "--gamma", "0.5", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["start_value"] == pytest.approx(0.5)
    done = CliRunner().invoke(main, ["check-env", f"{own}:Inventory", "--steps", "1e2"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["check-env", f"{own}:model"])
    assert (done.exit_code, "bx.TabulatedEnv" in done.output) == (2, True)
