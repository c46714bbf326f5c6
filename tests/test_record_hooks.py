"""Functions of the user after each record: columns of their own, errors that are theirs, and an early end."""

import json
import math
import re
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power, newest, reseal

import bellmax as bx
from bellmax.cli import main
from bellmax.training import trainer
from bellmax.training.run import Which

SMALL = {"learning_starts": 50, "buffer_size": 300, "batch_size": 8, "net_arch": (8,), "target_update_interval": 100}
QUICK: dict[str, Any] = {
    "steps": 600,
    "records": 6,
    "seeds": 2,
    "eval_episodes": 1,
    "final_episodes": 1,
    "progress": False,
}
RUNS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), {"loop": "compiled"}),
    "table, host": ("CliffWalking-v1", bx.QLearning(), {"loop": "host"}),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled"}),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2), {"loop": "host"}),
}


class OwnError(Exception):
    """Of the user's."""


def begin(name: str, **options: Any) -> bx.Run:
    world, agent, own = RUNS[name]
    return bx.train(world, agent, **{**QUICK, **own, **options})


def total(record: bx.Record) -> dict[str, list[float]]:
    """The sum of all values of each seed."""
    return {"own/total": [sum(float(a.sum()) for a in policy.arrays.values()) for policy in record.policies]}


def same(run: bx.Run, other: bx.Run) -> None:
    assert {*run.history.columns, "time/fps"} == {*other.history.columns, "time/fps"}  # unknown in a first record
    assert run.history.step == other.history.step
    for column in run.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(run.history[column], other.history[column], err_msg=column)
    for which in ("final", "best"):
        for seed in run.seeds:
            for key, array in run.policy(seed, which).arrays.items():
                np.testing.assert_array_equal(other.policy(seed, which).arrays[key], array)
    assert run.scores == other.scores
    assert run.stopped == other.stopped
    for one, two in zip(run.episodes, other.episodes, strict=True):
        np.testing.assert_array_equal(one.returns, two.returns)


# what a function is given and what it returns


@pytest.mark.parametrize("name", RUNS)
def test_a_function_sees_each_record_and_changes_nothing_else(name: str) -> None:
    seen: list[bx.Record] = []

    def look(record: bx.Record) -> None:
        seen.append(record)

    run, plain = begin(name, on_record=look, keep_policies=True), begin(name)
    assert [record.step for record in seen] == run.history.step == plain.history.step
    for i, record in enumerate(seen):
        assert record.seeds == [0, 1]
        assert record.run.history.step == run.history.step[: i + 1]
        for column in record.columns:
            np.testing.assert_array_equal(record.columns[column], run.history[column][:, i])
        for seed in (0, 1):
            for key, array in run.policy(seed, at=record.step).arrays.items():
                np.testing.assert_array_equal(record.policies[seed].arrays[key], array)
        assert record.run.policy(1, at=record.step) is not None
        assert repr(record).startswith(f"Record(step {record.step} of 600, columns: time/total_timesteps, rollout/")
    for column in plain.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(run.history[column], plain.history[column])
    assert run.scores == plain.scores


def test_own_metrics_are_columns_of_the_history(tmp_path: Path) -> None:
    def metrics(record: bx.Record) -> dict[str, Any]:
        late = record.step > 300
        return {
            "own/step": record.step,
            "own/seed": np.array(record.seeds),
            "own/gap": math.nan,
            **({"late": 1} if late else {}),
        }

    def double(record: bx.Record) -> dict[str, Any]:
        return {"own/double": 2 * record.columns["own/step"]}

    run = begin("table, compiled", on_record=[metrics, double], out=tmp_path / "run")
    for found in (run, bx.load(tmp_path / "run")):
        assert found.history["own/step"].tolist() == [[100, 200, 300, 400, 500, 600]] * 2
        assert found.history["own/seed"].tolist() == [[0] * 6, [1] * 6]
        assert found.history["own/double"].tolist() == [[200, 400, 600, 800, 1000, 1200]] * 2
        np.testing.assert_array_equal(found.history["late"], [[np.nan] * 3 + [1.0] * 3] * 2)
    assert np.isnan(run.history["own/gap"]).all()
    assert run.on_record == bx.load(tmp_path / "run").on_record
    assert [name.rpartition(".")[2] for name in run.on_record] == ["metrics", "double"]
    assert "own/step" in (tmp_path / "run" / "history.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "returned 3; return None, or a dictionary {name: number, or one for each seed}"),
        ({"step": 1}, "returned a column 'step', a name of bellmax's own or of an earlier function"),
        ({"loss": 1}, "'own/loss'"),
        ({"train/rank": 1}, "choose another, such as 'own/rank'"),
        ({"": 1}, "a name is a printable string"),
        ({"a\nb": 1}, "a name is a printable string"),
        ({3: 1}, "returned a column 3; a name is"),
        ({"x" * 201: 1}, "of at most 200 letters"),
        ({"x": math.inf}, "returned 'x' = inf; it must be finite, or NaN where it is unknown"),
        ({"x": "much"}, "returned 'x' = 'much'; it must be a number, or 2, one for each seed"),
        ({"x": [1, 2, 3]}, "it must be a number, or 2, one for each seed"),
        ({"x": [[1], [1, 2]]}, "it must be a number"),
        ({"x": None}, "it must be a number"),
        ({str(i): i for i in range(1_000)}, "returned 1,000 columns; a history has at most 1,000"),
    ],
)
def test_what_cannot_be_a_column_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(message)) as error:
        bx.train("corridor", "q-learning", steps=100, seeds=2, progress=False, on_record=lambda record: returned)
    assert "<lambda>" in str(error.value)


@pytest.mark.parametrize("wrong", [3, "print", [print, 3], bx.Record, {"a": print}])
def test_what_is_not_a_function_is_refused(wrong: Any) -> None:
    for call in (lambda: bx.train("corridor", "q-learning", on_record=wrong), lambda: bx.resume("x", on_record=wrong)):
        with pytest.raises(bx.ConfigError, match=r"`on_record` must be a function, called as on_record\(record\)"):
            call()


def test_the_replay_buffer_can_be_looked_at() -> None:
    sizes: list[list[int]] = []

    def look(record: bx.Record) -> None:
        sizes.append([data.steps for data in record.experience()])

    begin("network, compiled", on_record=look)
    assert sizes == [[100] * 2, [200] * 2, [300] * 2, [300] * 2, [300] * 2, [300] * 2]
    with pytest.raises(bx.ConfigError, match=r"record.experience\(\): q-learning has no replay buffer"):
        begin("table, compiled", on_record=look)
    data = bx.collect(None, "FrozenLake-v1", steps=50)
    with pytest.raises(bx.ConfigError, match=r"record.experience\(\): a run with data has no replay buffer"):
        bx.train("FrozenLake-v1", "dqn", data=data, on_record=look, **{**QUICK, "steps": 20}, batch_size=4)


# errors


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("at", [100, 300, 600])
def test_what_a_function_raises_is_its_own_and_the_run_goes_on_bit_for_bit(name: str, at: int, tmp_path: Path) -> None:
    whole = begin(name, on_record=total)
    failing: list[int] = [at]

    def fail(record: bx.Record) -> dict[str, list[float]]:
        if record.step in failing:
            raise OwnError("not today")
        return total(record)

    fail.__qualname__ = "total"
    said: list[str] = []
    with pytest.raises(OwnError, match="not today") as error:
        begin(name, on_record=fail, out=tmp_path / "run", say=said.append)
    line = traceback.extract_tb(error.value.__traceback__)[-1].lineno
    (note,) = error.value.__notes__
    assert re.fullmatch(rf"on_record: .*:total raised OwnError: not today, at {re.escape(__file__)}:{line}, after the "
                        rf"record of step {at}", note)  # fmt: skip
    assert said[-3:-2] == [note]
    assert said[-2] == f"stopped; the state at step {at} is saved in {tmp_path / 'run'}"
    stopped = bx.load(tmp_path / "run")
    assert max(stopped.history.step, default=0) == at - 100
    failing.clear()
    said.clear()
    run = bx.resume(tmp_path / "run", on_record=fail, progress=False, say=said.append)
    assert not any("on_record" in line for line in said)
    same(run, whole)
    same(bx.load(tmp_path / "run"), whole)


def test_without_its_function_a_resumed_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin("table, compiled", on_record=total)
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            begin("table, compiled", on_record=total, out=tmp_path / "run")
    said: list[str] = []
    run = bx.resume(tmp_path / "run", progress=False, say=said.append)
    assert re.match(r"before, on_record=.*test_record_hooks:total was called after each record; it is not now, so its "
                    r"columns end here and it cannot stop the run: pass on_record again", said[1])  # fmt: skip
    np.testing.assert_array_equal(run.history["own/total"][:, :3], whole.history["own/total"][:, :3])
    assert np.isnan(run.history["own/total"][:, 3:]).all()
    assert run.scores == whole.scores


def test_the_same_call_resumes_with_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin("network, host", on_record=total)
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            begin("network, host", on_record=total, out=tmp_path / "run")
    same(begin("network, host", on_record=total, out=tmp_path / "run", if_exists="resume"), whole)


# early ends


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_early_has_ended(name: str, tmp_path: Path) -> None:
    def stop(record: bx.Record) -> None:
        if record.step == 300:
            raise bx.StopTraining("seen enough")

    after: list[int] = []
    options: dict[str, Any] = {"on_record": [stop, lambda record: after.append(record.step)], "keep_policies": True}
    run = begin(name, **options, out=tmp_path / "run")
    assert after == [100, 200, 300]  # the other function is called as well
    whole = begin(name, keep_policies=True)
    for found in (run, bx.load(tmp_path / "run")):
        assert found.stopped == (300, "seen enough")
        assert (found.steps, found.end, found.history.step) == (600, 300, [100, 200, 300])
        assert len(found.scores) == 2
        assert [each.returns.size for each in found.evaluations] == [1, 1]
        assert "300 of 600 steps" in repr(found)
        assert "stopped early at step 300: seen enough" in repr(found)
        assert found.summary().n == 2
        assert found.verdict() is not None
        for seed in (0, 1):
            for key, array in whole.policy(seed, at=300).arrays.items():
                np.testing.assert_array_equal(found.policy(seed).arrays[key], array)
    assert not (tmp_path / "run" / "checkpoint").exists()
    with pytest.raises(bx.ConfigError, match="has ended"):
        bx.resume(tmp_path / "run")
    same(begin(name, **options, out=tmp_path / "run", if_exists="resume"), run)


def test_a_run_that_was_stopped_early_and_killed_is_only_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin("network, compiled", on_record=bx.stop_at(-1e9), out=tmp_path / "whole")
    assert whole.end == 100
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "finish", lambda self: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            begin("network, compiled", on_record=bx.stop_at(-1e9), out=tmp_path / "run")
    assert bx.load(tmp_path / "run").stopped == whole.stopped
    said: list[str] = []
    same(bx.resume(tmp_path / "run", progress=False, say=said.append), whole)
    assert not any("on_record" in line for line in said)


def test_a_resume_from_before_an_early_end_goes_past_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(record: bx.Record) -> None:
        if record.step == 300:
            raise bx.StopTraining

    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "finish", lambda self: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            begin("table, compiled", on_record=stop, out=tmp_path / "run")
    assert "stop raised StopTraining" in bx.load(tmp_path / "run").early
    run = bx.resume(tmp_path / "run", step=200, progress=False)
    assert (run.stopped, run.end, run.history.step[-1]) == (None, 600, 600)
    assert bx.load(tmp_path / "run").stopped is None
    assert "stopped" not in json.loads((tmp_path / "run" / "config.json").read_text())


def test_an_end_at_the_last_record_is_not_early() -> None:
    def stop(record: bx.Record) -> None:
        if record.step == 600:
            raise bx.StopTraining("late")

    assert begin("table, compiled", on_record=stop).stopped is None


def test_the_command_line_says_where_a_run_was_stopped(tmp_path: Path) -> None:
    from bellmax.report.text import describe_run

    run = begin("table, compiled", on_record=[total, bx.stop_at(-1e9, "own/total")], out=tmp_path / "run")
    words = describe_run(run)
    assert "q-learning on CliffWalking-v1, 100 of 600 steps, compiled loop" in words
    assert "stopped early at step 100: own/total reached" in words
    done = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), "--episodes", "2", "--quiet"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "stopped", [3, {"step": "3", "reason": "x"}, {"step": 3}, {"step": 0, "reason": ""}, {"step": 3, "reason": None}]
)
def test_a_broken_early_end_is_a_corrupt_run(stopped: Any, tmp_path: Path) -> None:
    begin("table, compiled", out=tmp_path / "run")
    for entry in ({"stopped": stopped}, {"on_record": "x"}):
        card = json.loads((tmp_path / "run" / "config.json").read_text())
        (tmp_path / "run" / "config.json").write_text(json.dumps({**card, **entry}))
        reseal(tmp_path / "run")
        with pytest.raises(bx.CorruptCheckpoint, match="does not hold a complete run"):
            bx.load(tmp_path / "run")


def test_stop_at_waits_for_every_seed_or_for_their_mean() -> None:
    columns = {"eval/mean_reward": [[1.0, 5.0], [4.0, 9.0], [6.0, 7.0]]}

    def after(stop: Any) -> list[int]:
        """The records, from 0, at which it stops."""
        found = []
        for i, values in enumerate(columns["eval/mean_reward"]):
            record = bx.Record(i, [0, 1], {"eval/mean_reward": np.array(values)}, [], None, None)  # type: ignore[arg-type]
            try:
                stop(record)
            except bx.StopTraining:
                found.append(i)
        return found

    assert after(bx.stop_at(5)) == [2]
    assert after(bx.stop_at(6)) == [2]
    assert after(bx.stop_at(6.1)) == []
    assert after(bx.stop_at(6.5, mean=True)) == [1, 2]
    assert after(bx.stop_at(5, "eval/mean_reward")) == [2]
    columns["eval/mean_reward"][2][0] = math.nan
    assert after(bx.stop_at(5)) == after(bx.stop_at(1, mean=True))[2:] == []


def test_stop_at_stops_at_a_score_or_says_what_is_missing() -> None:
    run = bx.train(
        "corridor", "q-learning", steps=20_000, records=40, seeds=3, on_record=bx.stop_at(0.9), progress=False
    )
    assert run.stopped is not None
    assert run.history["exact/policy_return"][:, -1].min() >= 0.9
    assert not (run.history["exact/policy_return"][:, :-1].min(axis=0) >= 0.9).any()
    assert re.fullmatch(r"exact/policy_return reached \S+, 0.9 was asked for", run.stopped.reason)
    with pytest.raises(
        bx.ConfigError, match=r"stop_at\(3\) needs an evaluation \(eval_episodes above 0\); the record has"
    ):
        begin("network, compiled", on_record=bx.stop_at(3), eval_episodes=0)
    with pytest.raises(bx.ConfigError, match=r"stop_at\(3\) needs the column 'mine'"):
        begin("table, compiled", on_record=bx.stop_at(3, "mine"))
    early = begin("network, compiled", on_record=bx.stop_at(1, "return"), records=[1, 50, 100], eval_episodes=0)
    assert early.end == 50  # no episode has ended in the first step


@pytest.mark.parametrize("which", ["final", "best"])
def test_a_function_cannot_change_the_policies(which: Which) -> None:
    def spoil(record: bx.Record) -> None:
        with pytest.raises(ValueError, match="read-only"):
            record.run.policy(1, which).arrays["q"][:] = 7.0
        with pytest.raises(ValueError, match="read-only"):
            record.policies[1].arrays["visits"][:] = 7

    same(begin("table, compiled", on_record=spoil), begin("table, compiled"))


def test_pruning_as_in_optuna_ends_the_trial_with_its_own_exception() -> None:
    class TrialPruned(Exception):
        pass

    reported: dict[int, float] = {}

    def prune(record: bx.Record) -> None:
        reported[record.step] = float(record.columns["exact/policy_return"].mean())
        if record.step >= 200:
            raise TrialPruned

    with pytest.raises(TrialPruned):
        begin("table, compiled", on_record=prune)
    assert list(reported) == [100, 200]


def test_the_scale_of_values_is_that_of_a_run_without_a_failure(tmp_path: Path) -> None:
    """It is in the checkpoint, and says when values diverge: the steps of a record must not count twice."""

    def fail(record: bx.Record) -> None:
        if record.step == 150:
            raise OwnError

    with pytest.raises(OwnError):  # no episode ends before step 200
        bx.train("MountainCar-v0", bx.DQN(**SMALL), on_record=fail, out=tmp_path / "run", **{**QUICK, "records": 12})
    step, groups = newest(tmp_path / "run")
    assert step == 150
    for group in groups:
        _, _, longest, running = group["run.0.scale"]
        assert (longest, running) == (0.0, 100.0)
