"""Settings for known environments: read from one file, the last recipe counts, and each value says where it is from."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax import recipes
from bellmax.catalog import AGENTS, agent_class, make_agent, own_name
from bellmax.cli import main
from bellmax.recipes import recipe_for


def test_every_recipe_is_of_agents_that_there_are_and_fits_them() -> None:
    names = {own_name(agent_class(name)) for name in AGENTS}
    for recipe in recipes.read_recipes():
        assert set(recipe) == {"environments", "agents", "source", "settings"}
        assert recipe["source"]
        assert set(recipe["agents"]) <= names
        for agent in recipe["agents"]:
            for environment in recipe["environments"]:
                config = make_agent(agent, environment.replace("*", "Pong-v5"), {})
                for name in recipe["settings"]:
                    assert getattr(config, name) is not None


@pytest.mark.parametrize(
    ("environment", "agent", "expected"),
    [
        ("CartPole-v1", "dqn", {"n_steps": 3, "learning_rate": 4e-3, "batch_size": 64}),
        ("CartPole-v1", "double-dqn", {"n_steps": 3, "double": True}),
        ("MountainCar-v0", "rainbow", {"v_min": -100.0, "exploration_final_eps": 0.0, "batch_size": 128}),
        ("MountainCar-v0", "c51", {"v_min": -100.0, "exploration_final_eps": 0.07}),
        ("ALE/Pong-v5", "rainbow", {"learning_rate": 6.25e-5, "net_arch": (512,), "v_max": 10.0}),
        ("gymnax:Freeway-MinAtar", "pqn", {"minibatches": 16, "net_arch": (128,)}),
        ("Acrobot-v1", "dqn", {"n_steps": 1}),
    ],
)
def test_what_an_environment_wants(environment: str, agent: str, expected: dict[str, object]) -> None:
    config = make_agent(agent, environment, {})
    assert {name: getattr(config, name) for name in expected} == expected
    given = make_agent(agent, environment, {"gamma": 0.5, **dict.fromkeys(["learning_rate"], 0.5)})
    assert given.learning_rate == 0.5  # what is given counts most


def test_data_leave_out_n_steps() -> None:
    assert make_agent("dqn", "CartPole-v1", {}, from_data=True).n_steps == 1


def test_a_class_that_only_inherits_a_name_has_no_recipe() -> None:
    class Mine(bx.DQN):
        pass

    assert make_agent(Mine, "CartPole-v1", {}).n_steps == 1


def test_show_settings_says_where_each_comes_from_and_does_not_train(tmp_path: Path) -> None:
    words = ["train", "CartPole-v1", "--agent", "double-dqn", "batch_size=32", "--out", str(tmp_path / "run")]
    shown = CliRunner().invoke(main, [*words, "--show-settings"])
    assert shown.exit_code == 0
    assert "\nreplay:\n" in shown.output
    lines = {line.split("=")[0].strip(): line.strip() for line in shown.output.splitlines() if "=" in line}
    assert len(lines) == len(dataclasses.fields(bx.DQN))
    for name, value, origin in [
        ("batch_size", "32", "given"),
        ("double", "True", "the agent's name"),
        ("n_steps", "3", "recipe for CartPole-v1: decisions 6 and 38"),
        ("gamma", "0.99", "agent's default"),
    ]:
        assert lines[name].split("  ")[0] == f"{name}={value}"
        assert lines[name].endswith(f"  {origin}")
    assert not (tmp_path / "run").exists()
    made = json.loads(CliRunner().invoke(main, [*words, "--show-settings", "--json"]).output)
    assert made["n_steps"] == {"value": 3, "from": recipe_origin(), "group": "returns"}


def recipe_origin() -> str:
    return f"recipe for CartPole-v1: {recipe_for('CartPole-v1', 'dqn')['n_steps'].source}"


def test_settings_are_in_groups() -> None:
    from bellmax.agent_config import grouped

    groups = grouped(bx.C51)
    assert {"returns", "exploration", "network", "optimizer", "target", "replay", "resets", "pace"} < set(groups)
    assert [name for name, _, _ in groups["method"]] == ["n_atoms", "v_min", "v_max"]
    assert sum(map(len, groups.values())) == len(dataclasses.fields(bx.C51))


def test_settings_that_agents_share_are_not_among_those_of_the_method() -> None:
    from bellmax.agent_config import grouped
    from bellmax.catalog import AGENTS, agent_class
    from bellmax.deep.config import ReplayConfig
    from bellmax.tabular.agent import LearningConfig

    for name in AGENTS:
        cls = agent_class(name)
        groups, parent = grouped(cls), LearningConfig if cls.family == "table" else ReplayConfig
        shared = {field.name for field in dataclasses.fields(parent)}
        assert not shared & {row[0] for row in groups.get("method", [])}, name
    assert list(grouped(bx.QLearning)) == ["returns", "exploration", "table", "step size"]
    assert [name for name, _, _ in grouped(bx.SarsaLambda)["method"]] == ["trace_decay", "trace"]
