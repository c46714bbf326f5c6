"""Records where they are asked for, and the policies at each: in memory, in files, after a crash."""

import errno
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from crashing import Case, survives_failures
from hypothesis import given
from hypothesis import strategies as st
from saved import StopError, lose_power, reseal
from test_determinism import data

import bellmax as bx
from bellmax import machine
from bellmax.cli import main
from bellmax.files import manifest, storage
from bellmax.loops import pacing, table_setup
from bellmax.loops.network_pieces import few_pieces
from bellmax.loops.pacing import chunk_steps, record_steps
from bellmax.training import trainer

SMALL = {"learning_starts": 50, "buffer_size": 300, "batch_size": 8, "net_arch": (8,), "target_update_interval": 100}
QUICK: dict[str, Any] = {"eval_episodes": 1, "final_episodes": 1, "progress": False}
RUNS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), {"loop": "compiled"}),
    "table, host": ("CliffWalking-v1", bx.QLearning(), {"loop": "host"}),
    "tiles, compiled": ("MountainCar-v0", bx.SarsaLambda(tilings=4), {"loop": "compiled"}),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled"}),
    "network, stacked": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled", "vmap": 2}),
    "network, rounds": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2, train_freq=5), {"loop": "compiled"}),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2), {"loop": "host"}),
    "table, data": ("CliffWalking-v1", "q-learning", {"data": data()}),
    "network, data": ("FrozenLake-v1", "cql", {"data": data(), "batch_size": 8, "net_arch": (8,)}),
}


def begin(name: str, folder: Path | None = None, **options: Any) -> bx.Run:
    world, agent, own = RUNS[name]
    return bx.train(world, agent, out=folder, **{**QUICK, "steps": 600, "seeds": 2, **own, **options})


def over_time(run: bx.Run) -> list[tuple[int, int, dict[str, np.ndarray]]]:
    """(seed, step, arrays) of every policy that was kept."""
    return [(seed, step, policy.arrays) for seed in run.seeds for step, policy in run.policies_over_time(seed)]


def assert_same_over_time(run: bx.Run, other: bx.Run) -> None:
    for mine, theirs in zip(over_time(run), over_time(other), strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[2].keys() == theirs[2].keys()
        for key, array in mine[2].items():
            np.testing.assert_array_equal(theirs[2][key], array)


# the steps of the records


@given(
    stride=st.integers(1, 64), rounds=st.integers(1, 100_000), n=st.integers(1, 40),
    marks=st.lists(st.integers(1, 10**7), min_size=1, max_size=9), spacing=st.sampled_from(["even", "log", "own"]),
    most=st.integers(1, 10**7),
)  # fmt: skip
def test_records_are_in_whole_rounds_up_to_the_last_step(
    stride: int, rounds: int, n: int, marks: list[int], spacing: str, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "MAX_CHUNK", max(most, rounds * stride // 200, stride))
        total = stride * rounds
        asked = sorted(set(marks)) if spacing == "own" else n
        found = list(record_steps(total, stride, asked, "even" if spacing == "own" else spacing))
        assert found[-1] == total
        assert all(step % stride == 0 for step in found)
        gaps = np.diff([0, *found])
        assert (gaps > 0).all()
        if spacing == "even":  # as always: a chunk, and a shorter last one
            assert set(gaps[:-1]) <= {chunk_steps(total, stride, n)}
        else:
            assert (gaps <= max(pacing.MAX_CHUNK, stride) + stride).all()
        if spacing == "own":
            assert {min(-(-step // stride) * stride, total) for step in asked} <= set(found)


def test_logarithmic_records_are_as_many_as_asked_for_and_a_constant_factor_apart() -> None:
    steps = list(record_steps(100_000, 1, 20, "log"))
    assert len(steps) == 20
    assert steps[:4] == [1, 2, 4, 7]
    ratios = np.array(steps[8:]) / np.array(steps[7:-1])
    np.testing.assert_allclose(ratios, ratios[-1], rtol=0.02)
    assert sum(step <= 200 for step in steps) >= 8  # the first steps of a corridor
    assert list(record_steps(6, 1, 20, "log")) == [1, 2, 3, 4, 5, 6]
    assert list(record_steps(640, 64, 3, "log")) == [64, 192, 640]
    assert list(record_steps(10, 1, 3, "episodes")) == list(range(1, 11))


@given(rounds=st.integers(0, 20_000), most=st.integers(1, 3_000))
def test_chunks_of_any_length_take_few_programs(rounds: int, most: int) -> None:
    found = few_pieces(rounds, most)
    assert sum(found) == rounds
    assert set(found) <= {1, 32, 1024}
    assert all(size <= most for size in found)


def test_logarithmic_records_compile_three_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from bellmax.loops import network_rounds

    made, original = [], network_rounds.make_chunk

    def make(*arguments: Any) -> Any:
        made.append(arguments[3])
        return original(*arguments)

    monkeypatch.setattr(network_rounds, "make_chunk", make)
    run = begin("network, compiled", steps=1_500, seeds=1, records=12, record_spacing="log", final_episodes=0)
    assert len(run.history) == 12
    assert sorted(made) == [1, 32]


@pytest.mark.parametrize("name", RUNS)
def test_policies_do_not_depend_on_the_records(name: str) -> None:
    even = begin(name, records=6, keep_policies=True)
    own = begin(name, records=[1, 3, 40, 100, 333, 400], keep_policies=True, eval_episodes=0)
    assert even.history.step == [100, 200, 300, 400, 500, 600]
    rounds = 10 if name == "network, rounds" else 2 if name == "network, host" else 1
    assert own.history.step == sorted({-(-step // rounds) * rounds for step in (1, 3, 40, 100, 333, 400, 600)})
    for seed, at in itertools.product((0, 1), (100, 400, 600)):
        for key, array in even.policy(seed, at=at).arrays.items():
            np.testing.assert_array_equal(own.policy(seed, at=at).arrays[key], array)


def test_a_run_of_episodes_has_a_record_after_each() -> None:
    run = bx.train("FrozenLake-v1", "q-learning", episodes=7, record_spacing="episodes", keep_policies=True, **QUICK)
    assert run.history.step == [1, 2, 3, 4, 5, 6, 7]
    assert run.history["rollout/episodes"].tolist() == [[1.0] * 7]
    assert [step for step, _ in run.policies_over_time()] == run.history.step
    some = bx.train("FrozenLake-v1", "q-learning", episodes=7, records=[2, 3], **QUICK)
    assert some.history.step == [2, 3, 7]
    np.testing.assert_array_equal(some.policy().table(), run.policy(at=7).table())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"records": []}, "`records` must list from 1 to 100,000 steps; got 0"),
        ({"records": [5, 5]}, "`records` must list increasing steps, such as"),
        ({"records": [0, 5]}, "`records` must be a positive integer; got 0"),
        ({"records": [5, 101]}, "records has 101, and the run has 100 steps; leave out what is after its end"),
        ({"records": "log"}, "records='log' is a spacing; write record_spacing='log'"),
        ({"records": [5], "record_spacing": "log"}, "lists the steps, so that record_spacing='log' has no meaning"),
        ({"record_spacing": "lgo"}, "unknown record_spacing 'lgo'; did you mean 'log'"),
        ({"record_spacing": "episodes"}, "record_spacing='episodes' needs a run of so many episodes"),
        ({"keep_policies": 1}, "keep_policies=1 is not True or False"),
    ],
)
def test_what_records_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(message)):
        bx.train("corridor", "q-learning", steps=100, **options)


# policies at records


def test_the_policy_at_a_step_is_that_of_the_last_record_before() -> None:
    run = begin("table, compiled", records=[10, 50, 200], keep_policies=True)
    assert run.kept_policies.steps == [10, 50, 200, 600]
    tables = {step: policy.table() for step, policy in run.policies_over_time(1)}
    for at, step in ((10, 10), (49, 10), (50, 50), (199, 50), (200, 200), (599, 200), (600, 600)):
        np.testing.assert_array_equal(run.policy(1, at=at).table(), tables[step])
    assert not any((one == two).all() for one, two in itertools.combinations(tables.values(), 2))
    np.testing.assert_array_equal(tables[600], run.policy(1).table())
    assert run.policy(1, at=50).act(36) in range(4)
    assert run.visits is not None
    np.testing.assert_array_equal(run.policy(1, at=50).arrays["visits"], run.visits[1, 1])
    for arguments, message in (
        ({"at": 9}, "no policy was stored at or before step 9; there are those of steps 10, 50, 200, 600"),
        ({"at": 601}, "at=601 is after the last of the 600 steps"),
        ({"at": 2.5}, "`at` must be a non-negative integer; got 2.5"),
        ({"at": 50, "which": "best"}, "at=50 is the policy of a step, and which='best' another; pass one of them"),
        ({"at": 50, "seed": 9}, "no 'final' policy of seed 9"),
    ):
        with pytest.raises(bx.ConfigError, match=re.escape(message)):
            run.policy(**arguments)  # type: ignore[arg-type]
    plain = begin("table, compiled")
    for ask in (lambda: plain.policy(at=100), lambda: plain.policies_over_time()):
        with pytest.raises(
            bx.ConfigError, match=r"did not store its policies over time; train with keep_policies=True"
        ):
            ask()


def test_a_large_table_which_is_not_copied_at_records_is_copied_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_setup, "is_large", lambda shape: True)
    run = begin("table, compiled", records=3, keep_policies=True)
    usual = [policy.table() for _, policy in run.policies_over_time()]
    monkeypatch.undo()
    for table, (_, policy) in zip(usual, begin("table, compiled", records=3, keep_policies=True).policies_over_time(),
                                  strict=True):  # fmt: skip
        np.testing.assert_array_equal(table, policy.table())


@pytest.mark.parametrize("name", ["table, compiled", "table, host", "tiles, compiled", "network, compiled",
                                  "network, stacked", "network, host", "network, data"])  # fmt: skip
def test_a_resumed_run_has_the_same_policies_over_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"records": 8, "record_spacing": "log", "keep_policies": True}
    whole = begin(name, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        lose_power(patch, 100)
        with pytest.raises(StopError):
            begin(name, tmp_path / "run", **options)
    stopped = bx.load(tmp_path / "run")
    assert 0 < len(stopped.kept_policies.steps) < 8
    assert stopped.kept_policies.steps == stopped.history.step
    own = RUNS[name][2]
    said: list[str] = []
    resumed = bx.resume(tmp_path / "run", data=own.get("data"), progress=False, say=said.append)
    assert said[0].endswith(f"resumed at step {stopped.history.step[-1]:,} of 600")
    loaded = bx.load(tmp_path / "run")
    for run in (resumed, loaded):
        assert run.history.step == whole.history.step
        assert_same_over_time(run, whole)
        assert run.scores == whole.scores
    for column in whole.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(loaded.history[column], whole.history[column])


def test_a_save_writes_only_new_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = storage.write_new

    def note(path: Path, content: Any) -> None:
        if path.parent.name == "kept":
            written.append(path.name)
        write(path, content)

    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(manifest.storage, "write_new", note)
    run = begin("table, compiled", tmp_path / "run", records=5, keep_policies=True)
    assert written == [f"step-{step}.safetensors.next" for step in run.history.step]
    names = {path.name for path in (tmp_path / "run" / "kept").iterdir()}
    assert names == {f"step-{step}.safetensors" for step in run.history.step}
    again = begin("table, compiled", tmp_path / "run", records=5, if_exists="replace")
    assert not again.kept_policies.steps
    assert not (tmp_path / "run" / "kept").exists()


def test_policies_of_steps_that_are_trained_again_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a resume from an earlier checkpoint, no policy is of the steps that were given up."""
    options: dict[str, Any] = {"records": 6, "keep_policies": True}
    whole = begin("table, compiled", **options)
    with monkeypatch.context() as patch:
        lose_power(patch, 400)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run", **options)
    for step in (400,):  # what another machine might have learned
        path = tmp_path / "run" / "kept" / f"step-{step}.safetensors"
        path.write_bytes((tmp_path / "run" / "kept" / "step-100.safetensors").read_bytes())
    reseal(tmp_path / "run")
    run = bx.resume(tmp_path / "run", step=300, progress=False)
    assert_same_over_time(run, whole)
    assert_same_over_time(bx.load(tmp_path / "run"), whole)


def test_policies_of_steps_that_are_given_up_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        lose_power(patch, 400)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run", records=6, keep_policies=True, keep_checkpoints=3)
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            bx.resume(tmp_path / "run", step=200, progress=False)
    names = {path.name for path in (tmp_path / "run" / "kept").iterdir()}
    assert names == {f"step-{step}.safetensors" for step in (100, 200, 300)}
    assert bx.load(tmp_path / "run").kept_policies.steps == [100, 200, 300]


def test_a_damaged_policy_over_time_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    begin("network, compiled", tmp_path / "run", records=3, keep_policies=True)
    path = tmp_path / "run" / "kept" / "step-400.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    run = bx.load(tmp_path / "run")
    with pytest.raises(bx.CorruptCheckpoint, match=r"step-400\.safetensors .* is not what was saved"):
        run.policy(1, at=400)
    assert run.policy(1, at=200).q_values([0.0, 0.0, 0.0, 0.0]).shape == (2,)
    for other in ("step-200", "nothing"):  # another record of the same run would fit; another run's arrays do not
        path.write_bytes((tmp_path / "run" / "kept" / "step-200.safetensors").read_bytes())
        if other == "nothing":
            path.write_bytes(storage.to_bytes({"q": np.zeros((2, 3))}))
        reseal(tmp_path / "run")
        run = bx.load(tmp_path / "run")
        if other == "nothing":
            with pytest.raises(bx.CorruptCheckpoint, match=r"step-400\.safetensors"):
                run.policy(1, at=400)
        else:
            assert run.policy(1, at=400).arrays.keys() == run.policy(1).arrays.keys()


def test_policies_over_time_that_do_not_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CliffWalking has 48 x 4 pairs, each with a value and a count: 3,072 bytes for a seed and record."""
    monkeypatch.setattr(machine, "NOTHING", 1)
    monkeypatch.setattr(machine, "free_memory", lambda: machine.Free(1_000_000))
    with pytest.raises(bx.ResourceError, match=r"keep_policies with 200 records of each of 2 seeds needs 1\.2 MB, and "
                       r"1\.0 MB are free; records=130 fits"):  # fmt: skip
        begin("table, compiled", tmp_path / "run", records=200, keep_policies=True)
    assert not (tmp_path / "run").exists()
    assert begin("table, compiled", records=130, keep_policies=True).scores
    with pytest.raises(bx.ResourceError, match=r"keep_policies with 301 records"):
        begin("table, host", records=list(range(1, 301)), keep_policies=True)


def test_what_keeps_a_run_from_changing_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        lose_power(patch, 100)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run", records=[100, 300])
    with pytest.raises(bx.ConfigError, match="`keep_policies` cannot change on resume: the policies of the records"):
        bx.resume(tmp_path / "run", keep_policies=True)  # type: ignore[call-arg]
    with pytest.raises(bx.ConfigError, match=r"records=\(100, 200\) \(saved: \(100, 300\)\)"):
        begin("table, compiled", tmp_path / "run", records=[100, 200], if_exists="resume")
    assert begin("table, compiled", tmp_path / "run", records=[100, 300], if_exists="resume").history.step[:2] == [
        100,
        300,
    ]


def test_from_the_command_line(tmp_path: Path) -> None:
    def invoke(*words: str) -> Any:
        return CliRunner().invoke(main, ["train", "corridor", "-a", "q-learning", "--steps", "400", "--quiet", *words])

    done = invoke("--records", "100,200", "--keep-policies", "--out", str(tmp_path / "a"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["stopped"] is None
    run = bx.load(tmp_path / "a")
    assert run.kept_policies.steps == run.history.step == [100, 200, 400]
    assert run.options.records == (100, 200)
    done = invoke("--records", "5", "--record-spacing", "log", "--out", str(tmp_path / "b"))
    assert done.exit_code == 0, done.output
    assert bx.load(tmp_path / "b").history.step == [1, 4, 19, 87, 400]
    done = invoke("--records", "often", "--out", str(tmp_path / "c"))
    assert (done.exit_code, "'often' is not a number of records or a list" in done.output) == (2, True)


# crashes


ASKED: dict[str, Any] = {"steps": 400, "seeds": 2, "records": [10, 100, 250], "keep_policies": True, **QUICK}


def begin_run(folder: Path) -> None:
    """A run that was saved at its first two records, and lost power."""
    with pytest.MonkeyPatch.context() as patch:
        lose_power(patch, 100)
        with pytest.raises(StopError):
            bx.train("FrozenLake-v1", "q-learning", loop="host", out=folder, **ASKED)


def finish_run(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "SAVE_SECONDS", -1.0)
        bx.resume(folder, progress=False)


def run_state(folder: Path) -> object:
    """The policies over time, all of them read, and the records."""
    run = bx.load(folder)
    assert run.kept_policies.steps == run.history.step
    held = [(step, {key: array.tobytes() for key, array in arrays.items()}) for _, step, arrays in over_time(run)]
    return run.scores, run.history.step, held


CASES = {"over time": Case(begin_run, finish_run, run_state)}


@pytest.mark.parametrize("stride", [31, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::bellmax.RunWarning")
def test_policies_over_time_survive_writes_that_fail(stride: int, tmp_path: Path) -> None:
    survives_failures(CASES["over time"], tmp_path, errno.ENOSPC, stride)


@pytest.mark.parametrize("how", ["killed", "power"])
@pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_policies_over_time_survive_a_process_that_dies(how: str, stride: int, tmp_path: Path) -> None:
    here = Path(__file__).parent
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(here / "crashing.py"), "test_over_time", "over time", str(tmp_path.resolve()), how]
    subprocess.run([*command, str(stride)], check=True, timeout=600, env=environ)
