"""`run.show` and `bellmax show`: what a run learned, on the map of its environment."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.mdp.outcomes import reachable

QUIET: dict[str, Any] = {"progress": False, "final_episodes": 1, "eval_episodes": 0, "records": 2}


def show(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["show", *map(str, words)], prog_name="bellmax")
    assert done.exit_code == code, f"{done.output}{done.exception!r}"
    return done.output


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bx.Run:
    folder = tmp_path_factory.mktemp("show") / "lake"
    return bx.train("FrozenLake-v1", "q-learning", steps=20_000, seeds=[3, 5], out=folder, **QUIET)


def test_a_runs_numbers_are_those_of_its_policy(saved: bx.Run) -> None:
    mdp = bx.FiniteMDP.from_gymnasium("FrozenLake-v1")
    policy, known = saved.policy(5), reachable(mdp)
    numbers = saved.show(seed=5).numbers
    np.testing.assert_array_equal(numbers.q, policy.arrays["q"])
    np.testing.assert_array_equal(numbers.visits, policy.arrays["visits"])
    assert numbers.known.tolist() == known.tolist()
    words = [word for line in saved.show("visits", seed=5).text().splitlines()[1:12:3] for word in line.split()]
    assert words == [str(n) for n in policy.arrays["visits"].sum(axis=1)[known]]
    for s in np.flatnonzero(known):
        assert numbers.greedy[s, policy.act(int(s))]
    assert saved.show().numbers.title == "q-learning on FrozenLake-v1, 20,000 steps, seed 3, final policy"


def test_errors_are_measured_from_the_exact_answer(saved: bx.Run) -> None:
    mdp = bx.FiniteMDP.from_gymnasium("FrozenLake-v1")
    exact = bx.solve(mdp, saved.config.gamma).q
    picture = saved.show("error", seed=3)
    view = picture.map
    assert view is not None
    known = reachable(mdp)
    error = np.abs(saved.policy(3).arrays["q"] - exact).max(axis=1)
    np.testing.assert_allclose(view.values[known], error[known])
    assert view.values[known].max() == pytest.approx(saved.history["exact/q_error"][0, -1])


@pytest.mark.slow
def test_a_network_on_a_map_shows_every_state() -> None:
    run = bx.train("FrozenLake-v1", "dqn", steps=300, learning_starts=100, env_kwargs={"is_slippery": False}, **QUIET)
    picture = run.show("q")
    np.testing.assert_allclose(picture.numbers.q, run.policy().q_values(np.arange(16)), rtol=1e-6)
    assert "H hole" in picture.text()
    with pytest.raises(bx.ConfigError, match="cannot show what='visits': a network does not count visits"):
        run.show("visits")


def test_an_environment_without_a_table_shows_its_observations() -> None:
    run = bx.train("Blackjack-v1", "q-learning", steps=2_000, **QUIET)
    picture = run.show()
    assert picture.map is None
    row = next(csv.DictReader(io.StringIO(picture.csv())))
    assert row["name"] == "(0, 0, 0)"
    state = int(picture.numbers.known.argmax())
    name = picture.numbers.state_names[state]
    np.testing.assert_array_equal(picture.numbers.q[state], run.policy().q_values(name))
    assert str(name) in picture.text()
    with pytest.raises(bx.ConfigError, match="cannot show what='error': Blackjack-v1 has no exact answer"):
        run.show("error")


def test_cells_of_two_numbers_are_a_map() -> None:
    run = bx.train("MountainCar-v0", bx.QLearning(bins=(6, 9)), steps=2_000, **QUIET)
    picture = run.show("visits")
    view = picture.map
    assert view is not None
    assert (view.layout.rows, view.layout.columns) == (6, 9)
    policy = run.policy()
    position, velocity = -0.5, 0.001
    row, column = int((position + 1.2) / 1.8 * 6), int((velocity + 0.07) / 0.14 * 9)
    np.testing.assert_array_equal(
        policy.q_values(np.float32([position, velocity])), picture.numbers.q[9 * row + column]
    )
    assert "[-0.6, -0.3] x [-0.007778, 0.007778]" in picture.numbers.state_names
    assert "rows are the first number of an observation" in picture.text()


@pytest.mark.parametrize(
    ("world", "agent", "message"),
    [
        pytest.param(
            "CartPole-v1",
            bx.DQN(learning_starts=100),
            "cannot be listed, for they have real numbers: .*; policy.q_values",
            marks=pytest.mark.slow,
        ),
        ("MountainCar-v0", bx.QLearning(bins=(4,), tilings=4), "a sum over 4 tilings, .*; policy.q_values"),
    ],
)
def test_what_has_no_list_of_states_says_so(world: str, agent: Any, message: str) -> None:
    run = bx.train(world, agent, steps=200, **QUIET)
    with pytest.raises(bx.ConfigError, match=message):
        run.show()


def test_a_loaded_run_of_an_object_wants_it_again(tmp_path: Path) -> None:
    mdp = bx.gridworld("S.G\n...", slip=0.0)
    bx.train(mdp, "q-learning", steps=500, out=tmp_path / "own", **QUIET)
    loaded = bx.load(tmp_path / "own")
    assert loaded.show().map is None
    again = loaded.show(world=mdp)
    assert again.map is not None
    assert "G goal" in again.text()
    with pytest.raises(bx.ConfigError, match=r"the policy is for .*; corridor has"):
        loaded.show(world="corridor")


def test_the_command_shows_a_run(saved: bx.Run, tmp_path: Path) -> None:
    folder = saved.folder
    assert folder is not None
    text = show(folder, "--seed", 5, "--what", "q")
    assert text.rstrip("\n") == bx.load(folder).show("q", seed=5).text()
    assert "seed 3, best policy" in show(folder, "--which", "best")
    value = json.loads(show(folder, "--json", "--what", "error"))
    assert value["q"] == saved.policy(3).arrays["q"].tolist()
    assert value["layout"]["kinds"][0] == ["start", "free", "free", "free"]
    assert max(np.array(value["error"])[value["known"]]) == pytest.approx(saved.history["exact/q_error"][0, -1])
    rows = list(csv.DictReader(io.StringIO(show(folder, "--csv"))))
    assert [int(row["visits(left)"]) for row in rows] == saved.policy(3).arrays["visits"][:, 0].tolist()
    svg, png = tmp_path / "lake.svg", tmp_path / "lake.png"
    assert show(folder, "--svg", svg, "--png", png).splitlines() == [f"saved {svg}", f"saved {png}"]
    assert svg.read_text() == bx.load(folder).show().svg()
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_the_command_shows_an_exact_answer() -> None:
    text = show("FrozenLake-v1", "--gamma", "0.9", "--env", "map_name=8x8")
    assert text.startswith("FrozenLake-v1, γ = 0.9: exact answer\n")
    assert len([line for line in text.splitlines() if "→" in line or "←" in line or "↑" in line]) >= 8
    corridor = show("corridor", "--what", "policy")
    assert corridor.splitlines()[1].split() == ["S", "→", "→", "→", "→", "→", "G"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["corridor", "--seed", "1"], "--seed is for the folder of a run, and 'corridor' is not one; leave it out"),
        (["corridor", "--what", "visits"], "an exact answer has no visits"),
        (["corridor", "--csv", "--json"], "--csv and --json exclude each other"),
        (["corridor", "--svg", "map.png"], "--svg map.png: the name of the file must end in .svg"),
        (["garnet", "--svg", "map.svg"], "cannot be drawn as an SVG: its states are on no map"),
        (["CartPole-v1"], "CartPole-v1 has no exact answer: .*train an agent in it, and show the folder of its run"),
        (["corridr"], "corridor"),
        (["."], "'.' is not the folder of a run"),
    ],
)
def test_the_command_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = show(*words, code=2)
    assert re.search(message, said), said


def test_the_command_shows_what_was_learned_by_a_step(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    run = bx.train("corridor", "q-learning", steps=400, keep_policies=True, out=folder, **QUIET | {"records": [100]})
    text = show(folder, "--at", 250, "--what", "q")
    assert text.startswith("q-learning on corridor, 100 steps, seed 0, final policy\n")
    value = json.loads(show(folder, "--at", 250, "--json"))
    assert value["q"] == run.policy(at=100).table().tolist() != run.policy().table().tolist()
    assert "at=401 is after the last of the 400 steps" in show(folder, "--at", 401, code=2)
    assert "no policy was stored at or before step 99" in show(folder, "--at", 99, code=2)
    assert "--at is for the folder of a run" in show("corridor", "--at", 9, code=2)


def test_a_run_has_its_own_discount_factor_and_its_own_seeds(saved: bx.Run) -> None:
    assert "--gamma is for an environment" in show(str(saved.folder), "--gamma", "0.5", code=2)
    assert "no 'final' policy of seed 4; seeds: [3, 5]" in show(str(saved.folder), "--seed", "4", code=2)
    assert f"did you mean '{saved.folder}'?" in show(f"{saved.folder}x", code=2)
