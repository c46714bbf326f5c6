"""A run is stopped, fails or ends: nothing is lost or learned twice, and nobody waits for a slow environment."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from saved import newest

import bellmax as bx
from bellmax.loops import stopping
from bellmax.loops.gymnasium_episodes import fresh_seed
from bellmax.loops.network_pieces import pieces
from bellmax.training import grading, trainer

SMALL = {"learning_starts": 20, "buffer_size": 300, "batch_size": 8, "net_arch": (8,)}
QUICK: dict[str, Any] = {"eval_episodes": 0, "progress": False}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "table, compiled": ("q-learning", {"loop": "compiled", "seeds": 2}),
    "table, host": ("q-learning", {"loop": "host", "seeds": 2}),
    "network, compiled": ("dqn", {"loop": "compiled", "seeds": 2, **SMALL}),
    "network, host": ("dqn", {"loop": "host", **SMALL}),
}


class Failing:
    """A final evaluation that does not come to its end."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *arguments: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("error", [bx.EnvCrashed("no more"), KeyboardInterrupt(2), RuntimeError("a bug")], ids=repr)
def test_the_end_of_a_run_is_saved_before_its_evaluation(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, options = CASES[name]
    if "network" in name and not isinstance(error, KeyboardInterrupt):
        return  # the same code, and networks take long to compile
    whole = bx.train("CliffWalking-v1", agent, steps=200, records=2, final_episodes=3, **options, **QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "play_finally", Failing(error))
        with pytest.raises(type(error)):
            bx.train(
                "CliffWalking-v1", agent, steps=200, records=2, final_episodes=3, out=tmp_path / "run", **options,
                **QUICK,
            )  # fmt: skip
    assert newest(tmp_path / "run") == (200, [])
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train", Failing(AssertionError("it learned again")))
        run = bx.resume(tmp_path / "run", progress=False)
    assert run.scores == whole.scores
    for seed in run.seeds:
        for key, array in whole.policy(seed).arrays.items():
            np.testing.assert_array_equal(run.policy(seed).arrays[key], array)
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert bx.load(tmp_path / "run").scores == whole.scores


def test_the_end_of_an_offline_run_and_its_experience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 60, "records": 2, "final_episodes": 2, "keep_experience": True, **SMALL, **QUICK}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "play_finally", Failing(KeyboardInterrupt(15)))
        with pytest.raises(KeyboardInterrupt):
            bx.train("CartPole-v1", "dqn", out=tmp_path / "a", **options)
        resumed = bx.resume(tmp_path / "a", final_episodes=0, progress=False)
        assert resumed.experience[0].steps == 60
        options |= {"data": str(tmp_path / "a"), "keep_experience": False, "batch_size": 4}
        with pytest.raises(KeyboardInterrupt):
            bx.train("CartPole-v1", "cql", out=tmp_path / "b", **options)
        (tmp_path / "a").rename(tmp_path / "away")  # the data are not needed any more
    with pytest.raises(bx.ConfigError, match="keep_experience"):
        bx.resume(tmp_path / "b", keep_experience=True)
    assert bx.resume(tmp_path / "b", progress=False).scores


def test_an_option_that_comes_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "play_finally", Failing(KeyboardInterrupt(15)))
        with pytest.raises(KeyboardInterrupt):
            bx.train("CartPole-v1", "dqn", out=tmp_path / "a", steps=60, **SMALL, **QUICK)
    with pytest.raises(bx.ConfigError, match="too late"):
        bx.resume(tmp_path / "a", keep_experience=True)


# an environment that fails


class Counted(gym.Env[Any, Any]):
    """Ten states in a row; raises at its step number `fail_at`; its first observation is drawn, and written down."""

    observation_space, action_space = gym.spaces.Discrete(50), gym.spaces.Discrete(2)
    firsts: ClassVar[list[int]] = []

    def __init__(self, fail_at: int = 10**9) -> None:
        self.fail_at, self.steps = fail_at, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state, self.t = int(self.np_random.integers(40)), 0
        Counted.firsts.append(self.state)
        return self.state, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == self.fail_at:
            raise OSError("the cable is out")
        self.t += 1
        return (self.state + self.t) % 50, float(action), False, self.t == 9, {}


@pytest.mark.parametrize("agent", ["q-learning", "sarsa-lambda", "dqn"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_an_environment_that_raises_leaves_a_checkpoint(agent: str, seeds: int, tmp_path: Path) -> None:
    settings = SMALL if agent == "dqn" else {}
    if (agent, seeds) == ("dqn", 2):
        return
    options = {"steps": 400, "records": 4, "final_episodes": 1, **settings, **QUICK}
    with pytest.raises(bx.EnvCrashed, match="the cable is out"):
        bx.train(functools.partial(Counted, 137), agent, seeds=seeds, out=tmp_path / "run", **options)
    step, groups = newest(tmp_path / "run")
    clocks = [int(arrays["run.clock"][0]) for arrays in groups]
    assert clocks[0] == 136
    assert all(100 <= clock <= 136 for clock in clocks)
    assert step == min(clocks)
    assert bx.load(tmp_path / "run").history.step == [100]
    run = bx.resume(tmp_path / "run", Counted, progress=False)
    assert run.history.step == [100, 200, 300, 400]
    assert sum(run.history["rollout/episodes"][0]) >= 400 // 9 - 1
    if agent == "q-learning":
        assert run.visits.sum(axis=(2, 3)).T.tolist() == [[100, 200, 300, 400]] * seeds


def test_a_failing_evaluation_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 200, "records": 2, "final_episodes": 1, "progress": False, "eval_episodes": 1, "loop": "host"}
    whole = bx.train("CartPole-v1", "q-learning", **options)
    calls: list[int] = []
    play = grading.play

    def fail(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise bx.EnvCrashed("no more")
        return play(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(grading, "play", fail)
        with pytest.raises(bx.EnvCrashed):
            bx.train("CartPole-v1", "q-learning", out=tmp_path / "run", **options)
    assert newest(tmp_path / "run")[0] == 200
    run = bx.resume(tmp_path / "run", progress=False)
    assert run.scores == whole.scores
    for column in ("train/td_error", "rollout/ep_rew_mean", "eval/mean_reward"):
        np.testing.assert_array_equal(run.history[column], whole.history[column])


def test_a_resumed_run_meets_new_episodes(tmp_path: Path) -> None:
    options = {"steps": 400, "records": 2, "final_episodes": 0, **QUICK}
    Counted.firsts.clear()
    with pytest.raises(bx.EnvCrashed):
        bx.train(functools.partial(Counted, 201), "q-learning", out=tmp_path / "run", **options)
    before = Counted.firsts[1:]  # the first environment only shows its spaces
    Counted.firsts.clear()
    bx.resume(tmp_path / "run", Counted, progress=False)
    after = Counted.firsts[-len(before) :]
    assert len(before) >= 22
    assert sum(a == b for a, b in zip(before, after, strict=True)) < 8  # of 40 states, by chance


def test_seeds_of_a_resumed_run_are_new_and_follow_from_the_step() -> None:
    assert fresh_seed(7, 0) == 7
    seeds = {fresh_seed(seed, step) for seed in range(20) for step in range(1, 2000, 7)}
    assert len(seeds) == 20 * len(range(1, 2000, 7))
    assert min(seeds) >= 10**7
    assert max(seeds) < 2**31 - 10**6
    assert fresh_seed(3, 100) == fresh_seed(3, 100)


# pieces of a chunk


def test_pieces() -> None:
    assert pieces(600, 2048) == [600]
    assert pieces(5000, 2048) == [1250] * 4
    assert pieces(4099, 2048) == [2048, 2048, 3]
    assert pieces(0, 5) == []


@pytest.mark.parametrize("name", ["table, compiled", "network, compiled"])
def test_where_a_chunk_is_cut_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, options = CASES[name]
    if name == "network, compiled":
        monkeypatch.setattr("bellmax.loops.network_compiled.piece_rounds", lambda *arguments: 200)
    whole = bx.train("CliffWalking-v1", agent, steps=200, records=2, final_episodes=1, **options, **QUICK)
    monkeypatch.setattr("bellmax.loops.network_compiled.piece_rounds", lambda *arguments: 7)
    monkeypatch.setattr("bellmax.loops.table_compiled.PIECE", 7)
    cut = bx.train("CliffWalking-v1", agent, steps=200, records=2, final_episodes=1, **options, **QUICK)
    for seed in whole.seeds:
        for key, array in whole.policy(seed).arrays.items():
            np.testing.assert_array_equal(cut.policy(seed).arrays[key], array)
    for column in whole.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(cut.history[column], whole.history[column])
    for a, b in zip(cut.episodes, whole.episodes, strict=True):
        np.testing.assert_array_equal(a.returns, b.returns)


@pytest.mark.parametrize("name", ["table, compiled", "table, host"])
def test_a_run_that_was_cut_in_the_middle_of_a_chunk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, options = CASES[name]
    whole = bx.train("CliffWalking-v1", agent, steps=400, records=2, final_episodes=1, **options, **QUICK)
    count = 0

    def pause(self: Any) -> bool:
        nonlocal count
        count += 1
        if count == (3 if "compiled" in name else 37):
            self._asked.append(15)
        return bool(self._asked)

    with monkeypatch.context() as patch:
        patch.setattr(stopping.Pause, "__call__", pause)
        patch.setattr("bellmax.loops.table_compiled.PIECE", 7)
        with pytest.raises(KeyboardInterrupt):
            bx.train(
                "CliffWalking-v1", agent, steps=400, records=2, final_episodes=1, out=tmp_path / "run", **options,
                **QUICK,
            )  # fmt: skip
    step, _ = newest(tmp_path / "run")
    assert step not in (200, 400)
    run = bx.resume(tmp_path / "run", progress=False)
    assert run.history.step == whole.history.step
    if "compiled" in name:
        for column in whole.history.columns:
            if not column.startswith("time/"):
                np.testing.assert_array_equal(run.history[column], whole.history[column])
        assert run.scores == whole.scores
        for a, b in zip(run.episodes, whole.episodes, strict=True):
            np.testing.assert_array_equal(a.returns, b.returns)


# signals, in real processes

SLOW = '''
import sys, time, gymnasium as gym
FREE = None
class Slow(gym.Env):
    """Its steps sleep; the first ones of a process do not."""
    observation_space, action_space = gym.spaces.Discrete(4), gym.spaces.Discrete(2)
    def __init__(self, seconds=0.3, free=0):
        global FREE
        self.seconds = float(seconds)
        FREE = int(free) if FREE is None else FREE
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0
        return 0, {}
    def step(self, action):
        global FREE
        self.t += 1
        if FREE:
            FREE -= 1
        else:
            print("step", flush=True, file=sys.stderr)
            time.sleep(self.seconds)
        return self.t % 4, 1.0, False, self.t == 20, {}
'''


def start(folder: Path, *words: str, seconds: float = 0.3, free: int = 0, ignore: bool = False) -> Any:
    """`bellmax train` of the slow environment, after its first slow step; `ignore` as a script starts it with `&`."""
    before = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " if ignore else ""
    (folder / "slow_env.py").write_text(SLOW)
    command = [
        sys.executable,
        "-c",
        f"{before}from bellmax.cli import main; main()",
        "train",
        "slow_env:Slow",
        "--quiet",
    ]
    environ = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [*command, "--out", str(folder / "run"), "--env", f"seconds={seconds}", "--env", f"free={free}", *words],
        env=environ, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if line == "step\n":
            return process
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize(
    ("agent", "number"), [("q-learning", signal.SIGINT), ("dqn", signal.SIGTERM), ("q-learning", signal.SIGHUP)]
)
def test_the_first_signal_ends_the_present_step(agent: str, number: int, tmp_path: Path) -> None:
    process = start(tmp_path, "-a", agent, "--steps", "100000", "--eval-episodes", "0")
    time.sleep(0.5)
    asked = time.monotonic()
    process.send_signal(number)
    output = process.communicate(timeout=60)[1]
    assert time.monotonic() - asked < 20  # a chunk is 5,000 steps of 0.3 s
    assert process.returncode == 128 + number, output
    assert "next: bellmax resume" in output
    step, _ = newest(tmp_path / "run")
    assert 0 < step < 20
    assert bx.load(tmp_path / "run").policies["final"]


def test_a_terminal_that_closes_is_one_signal_however_many_it_sends() -> None:
    before = signal.getsignal(signal.SIGHUP)
    assert before == signal.SIG_DFL
    with stopping.stop_at_a_good_moment() as asked:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked == [signal.SIGHUP]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) == before


def test_who_ignores_or_handles_a_closed_terminal_keeps_doing_so() -> None:
    """As `nohup` does, and a server that reads its settings again."""
    heard: list[int] = []
    for handler, sound in ((signal.SIG_IGN, []), (lambda number, frame: heard.append(number), [signal.SIGHUP])):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with stopping.stop_at_a_good_moment() as asked:
                os.kill(os.getpid(), signal.SIGHUP)
                assert (asked, heard) == ([], sound)
        finally:
            assert signal.signal(signal.SIGHUP, before) == handler


def test_a_signal_in_an_evaluation_ends_its_step(tmp_path: Path) -> None:
    words = ["-a", "q-learning", "--steps", "60", "--eval-episodes", "0"]
    process = start(tmp_path, *words, seconds=0.2, free=60)
    time.sleep(0.3)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[1]
    assert time.monotonic() - asked < 20  # a step of 32 environments is 6 s, all episodes are 480 s
    assert process.returncode == 143, output
    assert newest(tmp_path / "run")[0] == 60


@pytest.mark.parametrize(
    ("words", "ignore"),
    [
        (("-a", "q-learning"), False),
        (("-a", "dqn"), False),
        (("-a", "q-learning", "--workers", "1"), False),
        (("-a", "q-learning"), True),
    ],
    ids=str,
)
def test_the_second_signal_waits_for_nothing(words: list[str], ignore: bool, tmp_path: Path) -> None:
    process = start(tmp_path, *words, "--steps", "1000", seconds=60.0, ignore=ignore)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert time.monotonic() - asked < 2
    assert process.returncode == 130
    process.stderr.close()


def test_a_long_chunk_is_saved_in_its_middle(tmp_path: Path) -> None:
    (tmp_path / "slow_env.py").write_text(SLOW)
    code = (
        "import bellmax as bx, slow_env; from bellmax.loops import stopping; from bellmax.training import trainer; "
        "trainer.SAVE_SECONDS = stopping.SLICE = 0.2; "
        "bx.train(slow_env.Slow, 'q-learning', steps=100_000, out='run', env_kwargs=None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    manifest = tmp_path / "run" / "manifest.json"
    step = 0
    while step < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
        step = json.loads(manifest.read_text())["step"] if manifest.exists() else 0
    process.kill()
    process.wait()
    assert 4 <= step < 5000
    assert len(bx.load(tmp_path / "run").history) == 0
