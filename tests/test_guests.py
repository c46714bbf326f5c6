"""Agents, networks and environments from outside the package, as an installed third party would bring them."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from saved import reseal

import bellmax as bx
from bellmax.catalog import AGENTS, agent_class, register_agent
from bellmax.command import import_own
from bellmax.networks.torsos import TORSOS
from bellmax.registry import Registry

MINE = '''
from dataclasses import dataclass
from typing import ClassVar
import bellmax as bx
from bellmax.agent_config import setting

@dataclass(frozen=True, kw_only=True)
class Mine(bx.QLearning):
    """Q-learning with a setting of its own."""

    name: ClassVar[str] = "mine"
    patience: int = setting(3, "how long it waits", low=1)
'''


def third_party(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A fresh process in `folder`, which is not on its path; the words are Python's."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env["PYTHONPATH"] = str(Path(bx.__file__).parents[1])
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


def line(folder: Path, *words: str, code: int = 0) -> str:
    """What the command line says, of both streams."""
    done = third_party(folder, "-m", "bellmax", *words, code=code)
    return done.stdout + done.stderr


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module `mine_abc`, importable in this process."""
    (tmp_path / "mine_abc.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_abc", None)


def test_an_own_agent_is_saved_and_found_again(mine: Path) -> None:
    run = bx.train("corridor", "mine_abc:Mine", steps=400, patience=5, out=mine / "run", progress=False)
    assert type(run.config).__module__ == "mine_abc"
    assert run.config.patience == 5
    card = json.loads((mine / "run" / "config.json").read_text())
    assert (card["agent"], card["parts"]) == ("mine_abc:Mine", {"agent": "mine_abc:Mine"})
    assert bx.load(mine / "run").config == run.config
    run.policy().save(mine / "policy")
    assert bx.load_policy(mine / "policy").config == run.config
    assert bx.train("corridor", "mine_abc:Mine", steps=400, patience=5, out=mine / "run", if_exists="resume").scores
    with pytest.raises(bx.ConfigError, match="another one: agent='q-learning'"):
        bx.train("corridor", "q-learning", steps=400, out=mine / "run", if_exists="resume")


def test_a_file_imports_nothing(mine: Path) -> None:
    """Another process has not imported the module: neither load nor the command line does, and both say what to do."""
    bx.train("corridor", "mine_abc:Mine", steps=400, out=mine / "run", progress=False).policy().save(mine / "policy")
    said = line(mine, "eval", "run", code=1)
    assert "refusing to import 'mine_abc', because only the saved file names it" in said
    assert "--import mine_abc" in said
    assert "1 seed" in line(mine, "eval", "run", "--import", "mine_abc", "--episodes", "2")
    for call in ("load('run')", "load_policy('policy')"):
        code = (
            f"import bellmax as bx, sys\ntry: bx.{call}\nexcept bx.UnsafeFile as e: print(e, 'mine_abc' in sys.modules)"
        )
        said = third_party(mine, "-c", code).stdout
        assert "import mine_abc before you load the file" in said
        assert said.rstrip().endswith("False")
        assert third_party(mine, "-c", f"import bellmax as bx, mine_abc; bx.{call}")


@pytest.mark.parametrize(
    ("agent", "parts", "error", "said"),
    [
        ("mine", {"agent": "mine_abc:Gone"}, bx.IncompatibleCheckpoint, "module 'mine_abc' has no 'Gone'; restore it"),
        ("nobody", {}, bx.IncompatibleCheckpoint, "'nobody', which is not registered here: import the module"),
        ("mine_abc:bx", {}, bx.IncompatibleCheckpoint, "has a 'bx' that is not an agent"),
        ("os:system", {}, bx.UnsafeFile, "of Python's own library; it is not used"),
        ("mine_abc:bx.DQN", {}, bx.IncompatibleCheckpoint, "has no 'bx.DQN'"),  # found by importing only
        ("antigravity:fly", {}, bx.UnsafeFile, "refusing to import 'antigravity'"),
    ],
)
def test_what_a_file_says_of_an_agent(mine: Path, agent: str, parts: dict, error: type, said: str) -> None:
    bx.train("corridor", "mine_abc:Mine", steps=400, out=mine / "run", progress=False)
    path = mine / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "agent": agent, "parts": parts}))
    reseal(mine / "run")
    with pytest.raises(error, match=re.escape(said)):
        bx.load(mine / "run")
    assert "antigravity" not in sys.modules


def test_a_registered_agent_has_a_name(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENTS, "abc", None)  # so that it is gone afterwards
    cls = agent_class("mine_abc:Mine")
    register_agent("abc", cls)
    register_agent("abc", cls)
    run = bx.train("corridor", "ABC", steps=400, patience=4, out=mine / "run", progress=False)
    card = json.loads((mine / "run" / "config.json").read_text())
    assert (card["agent"], card["parts"]) == ("abc", {"agent": "mine_abc:Mine"})
    assert bx.load(mine / "run").config == run.config
    monkeypatch.delitem(AGENTS, "abc")
    assert bx.load(mine / "run").config == run.config  # the module is imported
    with pytest.raises(bx.ConfigError, match="patience"):
        bx.train("corridor", "mine_abc:Mine", steps=400, patience=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dqn", "'dqn' is an agent of bellmax"),
        ("Q_Learning", "'Q_Learning' is an agent of bellmax"),
        ("ddqn", "another name"),
        ("QRDQN", "is an agent of bellmax"),
        ("ExpectedSarsa", "is an agent of bellmax"),
        ("C51", "is an agent of bellmax"),
        ("MunchausenDQN", "is an agent of bellmax"),
        ("Munchausen", "another name"),
        ("Sarsa(λ)", "is an agent of bellmax"),
        ("PPO", "another name"),
        ("", "must be a string"),
        (3, "must be a string"),
        ("a:b", "must have only letters, digits, '-', '_', '.' and spaces"),
        *[
            (name, "begin with a letter or digit; got ")
            for name in ("--x", "x=1", "a\nb", "a/b", "x,y", ".x", "_x", "x ")
        ],
    ],
)
def test_a_name_that_is_taken(name: str, said: str) -> None:
    class Other(bx.QLearning):
        pass

    assert Other.name == "Other"
    with pytest.raises(bx.ConfigError, match=re.escape(said)):
        register_agent(name, Other)


def test_a_registered_network_is_found_where_its_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(TORSOS, "_known", dict(TORSOS._known))
    bx.extend.register_network("waves", importlib.import_module("my_network").Waves)
    run = bx.train("CartPole-v1", "dqn", steps=300, records=1, eval_episodes=0, final_episodes=1, out=tmp_path / "run",
                   network="waves", progress=False, **NET)  # fmt: skip
    card = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (card["agent"], card["parts"]) == ("dqn", {"network": "my_network:Waves"})
    del TORSOS["waves"]
    assert bx.load(tmp_path / "run").policy().q_values([0.0] * 4).tolist() == run.policy().q_values([0.0] * 4).tolist()
    del TORSOS["waves"]
    monkeypatch.delitem(sys.modules, "my_network")
    with pytest.raises(bx.UnsafeFile, match=r"refusing to import 'my_network'.* for its network 'my_network:Waves'"):
        bx.load(tmp_path / "run")
    assert "my_network" not in sys.modules
    path = tmp_path / "run" / "config.json"
    for place in ("os:system", "shutil:rmtree"):
        path.write_text(json.dumps({**card, "hyper_parameters": {**card["hyper_parameters"], "network": place}}))
        reseal(tmp_path / "run")
        with pytest.raises(bx.UnsafeFile, match="of Python's own library"):
            bx.load(tmp_path / "run")


def test_an_own_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names: Registry[object] = Registry("network", {"mlp": "bellmax.networks.torsos:MLP"})
    names.register("mine", agent_class)
    names.register("mine", agent_class)
    with pytest.raises(bx.ConfigError, match=r"'Mine' is taken: 'mine' is a network registered from bellmax\.catalog:"):
        names.register("Mine", register_agent)
    with pytest.raises(bx.ConfigError, match="did you mean 'mine'"):
        names.find("mime")
    assert names.place("mlp") == "bellmax.networks.torsos:MLP"


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("mine_abc:Mime", "module 'mine_abc' has no 'Mime'; did you mean 'mine_abc:Mine'?"),
        ("mine_abd:Mine", "cannot import 'mine_abd'"),
        ("mine_abc:setting", "not the class of an agent"),
        ("zzzz", "one of your own is module:Class"),
    ],
)
def test_an_agent_that_is_not_there(mine: Path, agent: str, said: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(said)):
        bx.train("corridor", agent, steps=400)


BROKEN = {
    "raise RuntimeError('no license')": "RuntimeError: no license, at {file}:2",
    "def f(:": "SyntaxError: invalid syntax, at {file}:2",
    "import sys; sys.exit(3)": "SystemExit: 3, at {file}:2",
    "import no_such_part": "ModuleNotFoundError: No module named 'no_such_part', at {file}:2",
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_module_that_fails_while_it_is_imported(code: str, mine: Path) -> None:
    (mine / "bad_abc.py").write_text(f"# a module\n{code}\n")
    said = f"cannot import 'bad_abc': {BROKEN[code].format(file=mine / 'bad_abc.py')}"
    for call in (
        lambda: bx.train("corridor", "bad_abc:X", steps=400),
        lambda: bx.train("bad_abc:X", "q-learning", steps=400),
        lambda: bx.train("CartPole-v1", "dqn", steps=400, wrappers=["bad_abc:X"]),
        lambda: bx.train("CartPole-v1", "dqn", steps=400, network="bad_abc:X"),
        lambda: import_own(("bad_abc",)),
    ):
        with pytest.raises(bx.ConfigError, match=re.escape(said)) as caught:
            call()
        assert type(caught.value.__cause__).__name__ == BROKEN[code].partition(":")[0]


@pytest.mark.parametrize(("module", "write"), [("..mine_abc", "mine_abc"), (".", "mymodule"), ("..", "mymodule")])
def test_a_relative_module(module: str, write: str) -> None:
    said = re.escape(f"{module!r} is not an absolute module name; write {write!r}")
    with pytest.raises(bx.ConfigError, match=said):
        bx.train("corridor", f"{module}:X", steps=400)
    with pytest.raises(bx.ConfigError, match=said):
        bx.train(f"{module}:X", "q-learning", steps=400)
    with pytest.raises(bx.ConfigError, match=said):
        import_own((module,))


def test_a_class_that_no_file_can_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AGENTS, "_known", dict(AGENTS._known))

    class Local(bx.Sarsa):
        pass

    with pytest.raises(bx.ConfigError, match=r"not loaded.*<locals>\.Local'; move it to the top .* or register"):
        bx.train("corridor", Local, steps=400, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    policy = bx.train("corridor", Local, steps=400, progress=False).policy()
    with pytest.raises(bx.ConfigError, match=r"^the policy could be saved but not loaded, because no agent"):
        policy.save(tmp_path / "policy")
    assert not list(tmp_path.iterdir())
    register_agent("local", Local)
    run = bx.train("corridor", Local, steps=400, out=tmp_path / "run", progress=False)
    assert bx.load(tmp_path / "run").config == run.config
    policy.save(tmp_path / "policy")
    assert bx.load_policy(tmp_path / "policy").config == policy.config


def test_a_class_of_a_session_without_a_file_is_reported_when_its_policy_is_saved(tmp_path: Path) -> None:
    """A notebook, or `python -c`: another process has a `__main__` of its own."""
    code = (
        "import bellmax as bx\nclass Mine(bx.Sarsa): pass\n"
        "bx.train('corridor', Mine, steps=400).policy().save('policy')\nprint(bx.load_policy('policy').config.name)"
    )
    done = third_party(tmp_path, "-c", code)
    assert "the policy is saved with the agent '__main__:Mine', which is not in a module that can be imp" in done.stderr
    assert done.stdout == "Mine\n"
    (tmp_path / "script.py").write_text(code)
    assert third_party(tmp_path, "script.py").stderr == ""
    (tmp_path / "my-script.py").write_text(code)
    assert "the agent 'my-script:Mine', which is not in a module" in third_party(tmp_path, "my-script.py").stderr


CHANGED = {
    "setting removed": ('    patience: int = setting(3, "how long it waits", low=1)', "", "patience"),
    "smaller range": ("low=1", "low=9", "patience=5 is outside [9, inf)"),
    "another type": ("patience: int = setting(3,", 'patience: Literal["a"] = setting("a",', "patience"),
    "an error": ("low=1)", "low=1)\n\n    def __post_init__(self):\n        raise KeyError('x')", "KeyError: 'x', at "),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_class_that_changed_since_its_run_was_saved(case: str, mine: Path) -> None:
    run = bx.train("corridor", "mine_abc:Mine", steps=400, patience=5, out=mine / "run", progress=False)
    run.policy().save(mine / "policy")
    before, after, said = CHANGED[case]
    code = MINE.replace(before, after).replace("import ClassVar", "import ClassVar, Literal")
    exec(compile(code, "mine_abc.py", "exec"), vars(sys.modules["mine_abc"]))  # noqa: S102 - as an edited module
    for load in (lambda: bx.load(mine / "run"), lambda: bx.load_policy(mine / "policy")):
        with pytest.raises(bx.IncompatibleCheckpoint, match=re.escape(said)) as caught:
            load()
        assert "agent 'mine_abc:Mine', whose class has changed since" in str(caught.value)


def test_an_object_where_a_name_belongs() -> None:
    with pytest.raises(bx.ConfigError, match=r"is not of type str; write 'test_guests:line'"):
        bx.train("CartPole-v1", "dqn", steps=400, network=line)


def test_settings_need_a_dataclass() -> None:
    class Forgot(bx.QLearning):
        patience: int = 3

    with pytest.raises(bx.ConfigError, match="patience would not be settings, because the class is not a dataclass"):
        bx.train("corridor", Forgot, steps=400)


# the examples, as an installed third party would run them

EXAMPLES = Path(__file__).parents[1] / "examples" / "extending"
QUICK = ("--eval-episodes", "2", "--final-episodes", "2", "--quiet", "--json")
NET = {"learning_starts": 100, "net_arch": (16,), "buffer_size": 1_000}
GUESTS = {
    # module: (environment, agent, hyper-parameters, steps, what a saved run needs again on the command line)
    "my_table": ("cliff", "my_table:AdvantageLearning", {"gap": 0.3}, 4_000, ("--import", "my_table")),
    "my_loss": ("CartPole-v1", "my_loss:HLGauss", {**NET, "v_max": 60.0, "n_atoms": 21}, 600, ("--import", "my_loss")),
    "my_network": ("CartPole-v1", "dqn", {**NET, "network": "my_network:Waves"}, 600, ("--import", "my_network")),
    "my_world": ("my_world:harbor", "dqn", NET, 600, ("--world", "my_world:harbor")),
}

SCRIPT = """
import sys
import bellmax as bx
from bellmax.training import saved_runs, trainer
import {module}

def begin():
    trainer.SAVE_SECONDS = -1.0
    save = saved_runs.save_run
    def save_and_stop(run, step, groups=(), **how):
        save(run, step, groups, **how)
        if step >= {steps} // 2:
            raise KeyboardInterrupt
    saved_runs.save_run = save_and_stop
    try:
        bx.train({world!r}, {agent!r}, steps={steps}, records=4, eval_episodes=1, final_episodes=2, out="python",
                 progress=False, **{settings!r})
    except KeyboardInterrupt:
        pass

def go_on():
    world = {world!r} if ":" in {world!r} else None
    assert not bx.load("python").scores
    run = bx.resume("python", world, progress=False)
    assert len(run.scores) == 1
    run.policy().save("policy")
    policy = bx.load_policy("policy")
    assert policy.config == bx.load("python").config == run.config
    assert bx.evaluate(policy, world, episodes=2).returns.shape == (2,)
    print(*run.history.columns)

begin() if sys.argv[1] == "begin" else go_on()
"""


def guests(quick: str) -> list[Any]:
    """Every example; all but one are left to the slow tests."""
    return [pytest.param(guest, marks=() if guest == quick else pytest.mark.slow) for guest in GUESTS]


@pytest.mark.parametrize("guest", guests("my_table"))
def test_an_example_by_the_command_line(guest: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / f"{guest}.py", tmp_path)
    world, agent, settings, steps, again = GUESTS[guest]
    words = [f"{name}={value[0] if isinstance(value, tuple) else value}" for name, value in settings.items()]
    trained = third_party(
        tmp_path, "-m", "bellmax", "train", world, "--agent", agent, "--steps", str(steps), "--out", "run", *QUICK,
        *words,
    )  # fmt: skip
    assert len(json.loads(trained.stdout)["scores"]) == 1
    refused = line(tmp_path, "eval", "run", "--episodes", "1", code=1)
    assert f"refusing to import '{guest}', because only the saved file names it" in refused
    assert again[0] in refused
    evaluated = third_party(tmp_path, "-m", "bellmax", "eval", "run", "--episodes", "2", "--json", *again)
    assert len(json.loads(evaluated.stdout)["returns"]["0"]) == 2
    if ":" in world:
        assert json.loads(line(tmp_path, "check-env", world, "--steps", "200", "--json"))["ok"]


@pytest.mark.parametrize("guest", guests("my_loss"))
def test_an_example_in_python(guest: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / f"{guest}.py", tmp_path)
    world, agent, settings, steps, _ = GUESTS[guest]
    (tmp_path / "script.py").write_text(
        SCRIPT.format(module=guest, world=world, agent=agent, settings=settings, steps=steps)
    )
    third_party(tmp_path, "script.py", "begin")
    columns = third_party(tmp_path, "script.py", "go-on").stdout.split()
    assert ("train/entropy" in columns) == (guest == "my_loss")


def test_the_world_of_the_example_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    report = bx.check_env("my_world:harbor", steps=500)
    assert report.ok
    assert [each for each in report.findings if each.level == "warning"] == []


def test_the_public_names_are_these() -> None:
    """What is on this list stays; a name that is to leave it is deprecated first."""
    assert sorted(bx.extend.__all__) == [
        "ActionValues", "Agent", "AgentConfig", "Array", "Bootstrap", "Box", "Categorical",
        "Discrete", "Experience", "Follower", "LearningConfig",
        "Look", "MOST", "Masked", "Memory", "Method", "Metrics", "MultiDiscrete", "Named", "Net", "Network", "Now",
        "Output", "ReplayAlgorithm", "Shape", "Sizes", "Space", "Step", "TabularAgent", "TabularConfig", "Transition",
        "World", "allowed", "as_gymnasium", "bellman", "change", "check_world", "copied", "distributions",
        "find_behavior", "flat", "flat_size", "greedy", "kernel", "largest", "mean_of_copies", "mean_value", "polyak",
        "register_agent", "register_network", "register_world", "setting", "uniform", "value", "with_default",
    ]  # fmt: skip
    for name in bx.extend.__all__:
        assert getattr(bx.extend, name) is not None
    with pytest.raises(AttributeError, match="register_agent"):
        bx.extend.register_agnt  # noqa: B018
