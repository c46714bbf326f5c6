"""`explain`: where a replay starts, what it refuses, and what the command line writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import ConfigError
from bellmax.recording import explaining
from bellmax.recording.starting import find_saved


def train(**more: Any) -> bx.Run:
    return bx.train("cliff", bx.QLearning(gamma=0.9), **{"steps": 600, "final_episodes": 1, "seeds": 2, **more})


def test_the_window_of_a_run_and_of_its_folder_are_the_same(tmp_path: Path) -> None:
    run = train(out=tmp_path / "run")
    lines: list[str] = []
    window = bx.explain(run, at=200, steps=5, seed=1, say=lines.append)
    again = bx.explain(tmp_path / "run", at=200, steps=5, seed=1)
    assert window.to_json() == again.to_json()
    assert (window.world, window.agent, window.seed, window.start) == ("cliff", "q-learning", 1, 200)
    assert [step.t for step in window.steps] == [200, 201, 202, 203, 204]
    assert window.settings["gamma"] == 0.9
    names = {phase.name for step in window.steps for phase in step.phases}
    assert names <= set(window.flow)
    assert lines == []


def test_a_window_ends_where_the_policy_of_the_run_is() -> None:
    run = train(seeds=1)
    window = bx.explain(run, at=590, steps=10)
    last: dict[str, Any] = window.steps[-1].phases[-1].values
    cell = next(p for p in window.steps[-1].phases if p.name == "update").values
    state, action = (next(p for p in window.steps[-1].phases if p.name == "step").values[k] for k in ("obs", "action"))
    assert run.policy().arrays["q"][state, action] == cell["q_after"]
    assert last


def test_a_window_is_clipped_where_the_run_ends() -> None:
    lines: list[str] = []
    window = bx.explain(train(seeds=1), at=595, steps=50, say=lines.append)
    assert len(window.steps) == 5
    assert any("where the run ends" in line for line in lines)


def test_a_run_that_was_stopped_early_has_no_later_steps() -> None:
    stopped = train(seeds=[5, 7], records=[200, 600], on_record=bx.stop_at(-1e9))
    assert stopped.stopped is not None
    window = bx.explain(stopped, at=198)
    assert [step.t for step in window.steps] == [198, 199]
    assert window.seed == 5, "the first seed of the run"
    with pytest.raises(ConfigError, match=r"at=200 is beyond .* 200 steps; it was stopped early .*; choose 0 to 199"):
        bx.explain(stopped, at=200)


def test_a_run_of_episodes_that_was_stopped_early_has_no_later_steps() -> None:
    stopped = bx.train(
        "corridor", "q-learning", episodes=9, seeds=2, records=[3], on_record=bx.stop_at(-1e9), final_episodes=1
    )
    for seed, end in zip(
        stopped.seeds, stopped.history["time/total_timesteps"][:, -1].astype(int).tolist(), strict=True
    ):
        assert bx.explain(stopped, at=end - 1, seed=seed).steps[-1].t == end - 1
        with pytest.raises(ConfigError, match=f"at={end} is beyond the run, which has {end} steps"):
            bx.explain(stopped, at=end, seed=seed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"at": 600}, "at=600 is beyond the run, which has 600 steps; choose 0 to 599"),
        ({"at": 5, "seed": 7}, "seed=7"),
        ({"at": 5, "steps": 0}, "`steps` must be a positive integer"),
        ({"at": -1}, "`at` must be a non-negative integer"),
        ({"at": 5, "data": "nowhere"}, "did not learn from data"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        bx.explain(train(seeds=1), **arguments)


def test_too_long_a_window_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "MOST_STEPS", 20)
    with pytest.raises(ConfigError, match="at most 20 steps are recorded"):
        bx.explain(train(seeds=1), at=0, steps=21)


def test_a_run_of_episodes_counts_environment_steps() -> None:
    run = bx.train("corridor", bx.QLearning(gamma=0.9), episodes=20, final_episodes=1)
    total = int(run.history["time/total_timesteps"][0, -1])
    window = bx.explain(run, at=total - 3, steps=10)
    assert [step.t for step in window.steps] == [total - 3, total - 2, total - 1]
    assert window.steps[-1].phases[-1].name == "reset"
    with pytest.raises(ConfigError, match="beyond the run"):
        bx.explain(run, at=total + 5, steps=1)


def test_a_window_starts_from_a_checkpoint_and_has_the_same_numbers(tmp_path: Path) -> None:
    run = train(seeds=1, steps=4_000)
    whole = bx.explain(run, at=3_000, steps=4)
    stopped = stop_at(tmp_path / "run", 2_000, steps=4_000)
    lines: list[str] = []
    saved = find_saved(bx.load(stopped), 0, 2_999, lines.append)
    assert saved is not None
    assert saved.step == 2_000
    again = bx.explain(stopped, at=3_000, steps=4, say=lines.append)
    assert again.to_json() == whole.to_json()
    assert any("starts from the checkpoint of step 2,000" in line for line in lines)
    older = find_saved(bx.load(stopped), 0, 1_999, lines.append)
    assert older is not None
    assert older.step == 200  # the first record, which is saved at once
    assert find_saved(bx.load(stopped), 0, 199, lines.append) is None


def stop_at(folder: Path, step: int, steps: int) -> Path:
    """The folder of a run that stopped after this step, as after Ctrl-C."""
    from bellmax.loops.choosing import make_loop
    from bellmax.sources import find_world
    from bellmax.training import saved_runs
    from bellmax.training.trainer import Trainer

    config, source = bx.QLearning(gamma=0.9), find_world("cliff")
    run = bx.Run("cliff", config, steps, [0], "compiled", {}, bx.train("cliff", config, steps=10).history)
    run.history.drop_after(0)
    folder.mkdir()
    run.folder = folder
    saved_runs.begin_folder(run)
    trainer = Trainer(run, source, make_loop(config, source, "compiled", steps))
    record = trainer.record

    def record_and_stop(groups: Any, report: Any) -> None:
        record(groups, report)
        if groups.clocks[0] >= step:
            raise KeyboardInterrupt(2)  # the first signal: everything is saved

    trainer.record = record_and_stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.go(False)
    return folder


def test_the_command_prints_a_window_and_writes_json(tmp_path: Path) -> None:
    train(seeds=1, out=tmp_path / "run")
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "run"), "--at", "100", "--steps", "2", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "y = r + γ · max Q(s′, a)" in done.output
    assert "step 101" in done.output
    file = tmp_path / "window.json"
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "run"), "--at", "100", "--json", str(file)])
    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(bx.explain(tmp_path / "run", at=100).to_json()))
    assert written["steps"][0]["phases"][0]["name"] == "observe"
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "run"), "--at", "600"])
    assert done.exit_code == 2
    assert "beyond the run" in done.output


def test_numbers_are_not_rounded_and_large_arrays_are_summed_up() -> None:
    from bellmax.recording.window import first_rows, shown

    number = np.float32(0.1)
    assert shown(number) == float(number) != 0.1
    large: Any = shown(np.arange(1_000.0).reshape(10, 100))
    assert large == {"shape": [10, 100], "mean": 499.5, "min": 0.0, "max": 999.0}
    assert len(first_rows(np.zeros((40, 2)))) == 16
    assert first_rows((np.arange(3), np.arange(3.0)), 2) == [[0, 0.0], [1, 1.0]]


def test_the_window_of_a_network_begins_with_a_round() -> None:
    run = bx.train(
        "CartPole-v1", "dqn", steps=120, net_arch=(8,), learning_starts=20, batch_size=8, num_envs=2, train_freq=2,
        final_episodes=1, records=1, eval_episodes=0,
    )  # fmt: skip
    lines: list[str] = []
    window = bx.explain(run, at=42, steps=3, say=lines.append)
    assert window.start == 40
    assert [step.t for step in window.steps] == [40, 42]
    assert any("from step 40 to step 44" in line for line in lines)
    assert [phase.name for phase in window.steps[-1].phases if phase.name in ("sample", "sync")] == ["sample", "sync"]
