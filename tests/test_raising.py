"""Code of others raises what is meant to end a process: the run is saved, and the error names the environment."""

import functools
import signal
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from saved import newest

import bellmax as bx
from bellmax.envs.host_world import open_world
from bellmax.files import storage
from bellmax.training import trainer

QUICK: dict[str, Any] = {"records": 4, "eval_episodes": 0, "final_episodes": 1, "progress": False}
ERRORS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError("no room"), RecursionError("deep")]


LEAVE = SystemExit(3)


class Raising(gym.Env[Any, Any]):
    """Episodes of ten steps; raises an error in `place`, in a step or reset only after 57 steps."""

    observation_space, action_space = gym.spaces.Discrete(12), gym.spaces.Discrete(2)

    def __init__(self, place: str = "", error: BaseException = LEAVE, after: int = 57) -> None:
        self.place, self.error, self.after, self.steps = place, error, after, 0

    def fail(self, place: str) -> None:
        if self.place == place and self.steps >= self.after:
            raise self.error

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.fail("reset")
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.fail("step")
        self.steps += 1
        self.t += 1
        return self.t, float(action), False, self.t == 10, {}

    def close(self) -> None:
        self.fail("close")


def kind(error: BaseException) -> type[bx.BellmaxError]:
    return bx.ResourceError if isinstance(error, MemoryError) else bx.EnvCrashed


@pytest.mark.parametrize("place", ["step", "reset", "close"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_run_is_saved_whatever_its_environment_raises(place: str, error: BaseException, tmp_path: Path) -> None:
    said: list[str] = []
    name = type(error).__name__
    with pytest.raises(kind(error), match=rf"Raising: environment 0, .*: {place} raised {name}") as caught:
        bx.train(
            functools.partial(Raising, place, error), "q-learning", steps=100, out=tmp_path / "run", say=said.append,
            **QUICK,
        )  # fmt: skip
    assert type(caught.value.__cause__) is type(error)
    assert newest(tmp_path / "run")[0] == {"step": 57, "reset": 59, "close": 100}[place]
    assert any(line.startswith("next: bellmax resume") for line in said)
    run = bx.resume(tmp_path / "run", Raising, progress=False)
    assert run.visits.sum(axis=(2, 3))[-1].tolist() == [100]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_vector_environment(error: BaseException) -> None:
    """In a thread, as in training; in the main thread, a KeyboardInterrupt is one."""
    for place in ("step", "reset", "close"):
        make = functools.partial(Raising, place, error, after=0)
        world = open_world(SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.NEXT_STEP))
        world._owned = True
        caught: list[BaseException] = []

        def run(world: Any = world, caught: list[BaseException] = caught) -> None:
            try:
                world.reset(0)
                world.step([0, 0])
                world.close()
            except BaseException as failure:
                caught.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert [type(each) for each in caught] == [kind(error)]
        assert f"{place} raised {type(error).__name__}" in str(caught[0])


@pytest.mark.parametrize("kwargs", [{}, {"wide": True}])
@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("no room")], ids=repr)
def test_a_constructor(error: BaseException, kwargs: dict[str, Any]) -> None:
    class Unmade(Raising):
        def __init__(self, wide: bool = False) -> None:
            raise error

    with pytest.raises(kind(error), match=f"Unmade.*: its constructor raised {type(error).__name__}: "):
        bx.train(Unmade, "q-learning", steps=10, env_kwargs=kwargs, **QUICK)


def test_an_evaluation_in_the_main_thread_and_what_a_check_says() -> None:
    policy = bx.train(Raising, "q-learning", steps=100, **QUICK).policy()
    for error, expected in ((SystemExit(3), bx.EnvCrashed), (KeyboardInterrupt(), KeyboardInterrupt)):
        with pytest.raises(expected):
            bx.evaluate(policy, functools.partial(Raising, "step", error, after=0), episodes=2)
    report = bx.check_env(functools.partial(Raising, "step", SystemExit(3), after=0), steps=20)
    assert any("step raised SystemExit: 3" in finding.what for finding in report.findings)


def test_a_signal_handler_of_the_host_program_keeps_its_meaning() -> None:
    """Its SystemExit is no failure of the environment in which it found the process."""

    class Waiting(Raising):
        def step(self, action: Any) -> Any:
            signal.raise_signal(signal.SIGUSR1)
            return super().step(action)

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(7)

    policy = bx.train(Raising, "q-learning", steps=100, **QUICK).policy()
    before = signal.signal(signal.SIGUSR1, leave)
    try:
        with pytest.raises(SystemExit) as caught:
            bx.evaluate(policy, Waiting, episodes=2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.value.code == 7


def test_a_failing_close_does_not_hide_what_failed_before() -> None:
    class Twice(Raising):
        def close(self) -> None:
            if self.steps:
                raise OSError("and the door is stuck")

    with pytest.raises(bx.EnvCrashed, match="step raised SystemExit: 3"):
        bx.train(functools.partial(Twice, "step"), "q-learning", steps=100, **QUICK)


class BrokenError(Exception):
    """A failure of anybody's code that is no environment."""


def test_a_run_is_saved_whatever_fails_beside_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*parts: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise BrokenError

    monkeypatch.setattr("bellmax.training.kept_records.KeptRecords.keep", fail)
    with pytest.raises(BrokenError):
        bx.train(Raising, "q-learning", steps=100, out=tmp_path / "run", **QUICK)
    assert newest(tmp_path / "run")[0] == 75


@pytest.mark.parametrize("place", ["training.kept_records.KeptRecords.keep", "training.trainer.grade_exactly"])
def test_a_run_is_saved_when_memory_runs_out(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table, outside of its environment."""
    calls = []

    def fail(*parts: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(f"bellmax.{place}", fail)
        full = r"^q-learning on corridor does not fit in memory; use fewer seeds, or a machine with more memory$"
        with pytest.raises(bx.ResourceError, match=full):
            bx.train("corridor", "q-learning", steps=100, out=tmp_path / "run", **QUICK)
    assert newest(tmp_path / "run")[0] == 75
    assert bx.resume(tmp_path / "run", progress=False).scores


def test_a_save_without_memory_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_bytes, calls = storage.to_bytes, []

    def fail(*parts: Any, **how: Any) -> bytes:
        calls.append(threading.current_thread())
        if calls[0] is not threading.main_thread() and len(calls) == 1:
            raise MemoryError("Unable to allocate 9 GiB")
        return to_bytes(*parts, **how)

    monkeypatch.setattr(storage, "to_bytes", fail)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    said = r"cannot save the run: out of memory \(Unable to allocate 9 GiB\); training continues \(failure 1 of 3"
    with pytest.warns(bx.RunWarning, match=said):
        run = bx.train("corridor", "q-learning", steps=100, out=tmp_path / "run", **QUICK)
    assert bx.load(tmp_path / "run").scores == run.scores
