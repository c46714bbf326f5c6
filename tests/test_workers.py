"""Worker processes that raise, die and hang: each is found, named and replaced, and none is left."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bellmax.contracts import ConfigError
from bellmax.envs.workers import Restarted, WorkerDied, WorkerFailed, WorkerHung, Workers, WorldFailed


class TwoWordsError(Exception):
    """Pickles, but does not come back: its constructor wants more than its message."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class Trouble(gym.Env):
    """Counts its steps and tells its process; does what the action names."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Discrete(9)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.array([-1 if seed is None else seed, 0.0]), {"pid": os.getpid(), "seed": seed}

    def step(self, action: Any) -> Any:
        self.time += 1
        info: dict[str, Any] = {}
        if action == "raise":
            raise KeyError("a wheel fell off")
        if action == "raise unportably":
            raise TwoWordsError("two", "words")
        if action == "exit":
            sys.exit(3)
        if action == "_exit":
            os._exit(3)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "die before its child":
            if os.fork() == 0:  # this copy keeps the pipe open
                time.sleep(2)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if action == "hang":
            time.sleep(1000)
        if action == "hang for good":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(1000)
        if action == "lock":
            info["lock"] = threading.Lock()
        return np.array([0.0, self.time]), 1.0, False, False, info


class KilledByReset(Trouble):
    """Its second reset in one process kills it."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.resets += 1
        if self.resets == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset(seed=seed)


Open = Callable[..., tuple[Workers, list[int]]]


def gone(pids: list[int], within: float = 5.0) -> bool:
    """No such process any more; a zombie that waits for its parent counts as gone."""
    deadline = time.monotonic() + within
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def open_workers() -> Iterator[Open]:
    """`Workers` that were reset with seeds 10, 11, ..., and the process of each world; afterwards none is left."""
    opened: list[Workers] = []
    pids: set[int] = set()

    def start(
        make: Callable[[], Any] = Trouble, n: int = 4, timeout: float = 30.0, restarts: int = 0
    ) -> tuple[Workers, list[int]]:
        workers = Workers("Trouble", make, n, processes=2, timeout=timeout, restarts=restarts)
        opened.append(workers)
        of_worlds = [info["pid"] for _, info in workers.reset(range(10, 10 + n))]
        pids.update(of_worlds)
        assert len(pids) == 2
        assert os.getpid() not in pids
        return workers, of_worlds

    yield start
    for workers in opened:
        workers.close()
    assert gone([*pids], within=1.0)


def times(answers: list[Any]) -> list[float]:
    return [answer[0][1] for answer in answers]


def test_trajectories_are_those_of_the_same_environments_in_this_process() -> None:
    workers = Workers("CartPole", lambda: gym.make("CartPole-v1"), 3, processes=2, timeout=30, restarts=0)
    envs = [gym.make("CartPole-v1") for _ in range(3)]
    seeds = [5, 6, 7]
    for ours, theirs in zip(
        workers.reset(seeds), (env.reset(seed=s) for env, s in zip(envs, seeds, strict=True)), strict=True
    ):
        assert ours[0].tolist() == theirs[0].tolist()
    episodes = 0
    for actions in np.random.default_rng(0).integers(2, size=(150, 3)):
        answers = workers.step(actions)
        expected = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        for ours, theirs in zip(answers, expected, strict=True):
            assert (ours[0].dtype, ours[0].tolist(), *ours[1:]) == (theirs[0].dtype, theirs[0].tolist(), *theirs[1:])
        ended = [i for i in reversed(range(3)) if answers[i][2]]
        if ended:
            episodes += len(ended)
            fresh = workers.reset([None] * len(ended), ended)
            assert [obs.tolist() for obs, _ in fresh] == [envs[i].reset()[0].tolist() for i in ended]
    assert episodes > 9
    assert (workers.n, workers.restarted, workers.restarts_left) == (3, 0, 0)
    workers.close()


def test_local_classes_and_more_processes_than_worlds() -> None:
    class Local(Trouble):
        pass

    workers = Workers("Local", lambda: Local(), 1, processes=7, timeout=30, restarts=0)
    (answer,) = workers.reset([None])
    assert answer[1]["seed"] is None
    workers.close()


def test_the_environment_variables_are_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLMAX_TEST_OF_WORKERS", "now")

    class Reads(Trouble):
        def step(self, action: Any) -> Any:
            return os.environ["BELLMAX_TEST_OF_WORKERS"]

    workers = Workers("Reads", Reads, 1, processes=1, timeout=30, restarts=0)
    assert workers.step([0]) == ["now"]
    workers.close()


def test_an_error_comes_back_with_its_world_and_its_traceback(open_workers: Open) -> None:
    workers, pids = open_workers()
    assert times(workers.step([0] * 4)) == [1, 1, 1, 1]
    with pytest.raises(WorldFailed, match=r"^environment 2: step raised KeyError: 'a wheel fell off'$") as caught:
        workers.step([0, 0, "raise", "raise"])
    assert (caught.value.i, caught.value.doing, caught.value.error.args) == (2, "step", ("a wheel fell off",))
    assert caught.value.__cause__ is caught.value.error
    assert "in step\n" in caught.value.error.__notes__[0]
    assert gone(pids)
    with pytest.raises(RuntimeError, match="Trouble: the workers are closed; create new ones"):
        workers.step([0] * 4)
    with pytest.raises(RuntimeError, match="closed"):
        workers.reset([0] * 4)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("raise unportably", r"RuntimeError: test_workers.TwoWordsError: two words"),
        ("exit", r"SystemExit: 3"),
        ("lock", r"TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_what_cannot_be_sent_or_ends_a_process_comes_back(open_workers: Open, action: str, words: str) -> None:
    workers, _ = open_workers()
    with pytest.raises(WorldFailed, match=f"^environment 3: step raised {words}$") as caught:
        workers.step([0, 0, 0, action])
    assert "in a worker process:\nTraceback" in caught.value.error.__notes__[0]


def test_errors_of_local_classes_are_the_same_classes_here(open_workers: Open) -> None:
    class LocalError(Exception):
        pass

    class Raises(Trouble):
        def step(self, action: Any) -> Any:
            raise LocalError

    workers, _ = open_workers(Raises)
    with pytest.raises(WorldFailed) as caught:
        workers.step([0] * 4)
    assert type(caught.value.error) is LocalError


def test_a_constructor_that_raises_is_not_tried_again() -> None:
    def make() -> Trouble:
        raise OSError("no display")

    with pytest.raises(WorldFailed, match=r"^environment [02]: constructor raised OSError: no display$"):
        Workers("Trouble", make, 4, processes=2, timeout=30, restarts=9)


def test_a_constructor_that_ends_the_process() -> None:
    with pytest.raises(
        WorkerDied, match=r"^Trouble: worker 0 \(environment 0\) exited with code 5 in constructor of environment 0$"
    ):
        Workers("Trouble", lambda: os._exit(5), 1, processes=1, timeout=30, restarts=9)


def test_what_cannot_be_sent_to_a_worker_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"Locked: cannot be sent to a worker process: TypeError: .*lock"):
        Workers("Locked", lambda: lock, 1, processes=1, timeout=30, restarts=0)  # type: ignore[return-value, arg-type]


def test_a_worker_that_is_killed_between_steps_is_found_and_named(open_workers: Open) -> None:
    workers, pids = open_workers()
    os.kill(pids[2], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(
        WorkerDied, match=r"^Trouble: worker 1 \(environments 2 to 3\) was killed by SIGKILL in step$"
    ) as caught:
        workers.step([0] * 4)
    assert time.monotonic() - began < 5
    assert (caught.value.worker, caught.value.worlds, caught.value.i) == (1, range(2, 4), None)
    assert gone(pids)


def test_a_worker_that_is_killed_while_another_is_slow_is_found_at_once(open_workers: Open) -> None:
    workers, pids = open_workers()
    threading.Timer(0.5, os.kill, (pids[3], signal.SIGKILL)).start()
    began = time.monotonic()
    with pytest.raises(WorkerDied, match=r"worker 1 .* was killed by SIGKILL in step of environment 3$"):
        workers.step(["hang", 0, 0, "hang"])
    assert 0.4 < time.monotonic() - began < 10
    assert gone(pids)


@pytest.mark.parametrize(
    ("action", "ending"),
    [
        ("_exit", "exited with code 3"),
        ("kill", "was killed by SIGKILL"),
        ("die before its child", "was killed by SIGKILL"),
        ("segfault", "was killed by SIGSEGV"),
    ],
)
def test_a_world_that_ends_its_process_is_named(open_workers: Open, action: str, ending: str) -> None:
    workers, pids = open_workers()
    with pytest.raises(
        WorkerDied, match=rf"^Trouble: worker 0 \(environments 0 to 1\) {ending} in step of environment 1$"
    ):
        workers.step([0, action, 0, 0])
    assert gone(pids)


@pytest.mark.parametrize("action", ["hang", "hang for good"])
def test_a_world_that_hangs_is_named_and_killed(open_workers: Open, action: str) -> None:
    workers, pids = open_workers(timeout=1.0)
    began = time.monotonic()
    with pytest.raises(
        WorkerHung,
        match=r"^Trouble: worker 1 \(environments 2 to 3\) did not answer within 1 s in step of environment 3$",
    ):
        workers.step([0, 0, 0, action])
    assert 1 <= time.monotonic() - began < 5
    assert gone(pids)


def test_a_stopped_process_is_killed(open_workers: Open) -> None:
    workers, pids = open_workers(timeout=1.0)
    os.kill(pids[0], signal.SIGSTOP)
    with pytest.raises(WorkerHung, match="worker 0"):
        workers.step([0] * 4)
    assert gone(pids)


def test_a_world_that_raises_is_made_anew_with_another_seed(open_workers: Open) -> None:
    workers, pids = open_workers(restarts=2)
    workers.step([0] * 4)
    answers = workers.step([0, "raise", 0, 0])
    assert [type(answer) for answer in answers] == [tuple, Restarted, tuple, tuple]
    assert answers[1].why == "environment 1: step raised KeyError: 'a wheel fell off'"
    assert answers[1].info == {"pid": pids[0], "seed": 11 + 1_000_003}
    assert answers[1].obs.tolist() == [11 + 1_000_003, 0]
    assert times(workers.step([0] * 4)) == [3, 1, 3, 3]
    assert (workers.restarted, workers.restarts_left) == (1, 1)
    assert workers.step([0, "raise", 0, 0])[1].info["seed"] == 11 + 2 * 1_000_003
    with pytest.raises(WorldFailed):
        workers.step([0, "raise", 0, 0])


@pytest.mark.parametrize("action", ["kill", "_exit", "hang"])
def test_all_worlds_of_a_lost_worker_are_made_anew(open_workers: Open, action: str) -> None:
    workers, pids = open_workers(timeout=1.5, restarts=1)
    answers = workers.step([0, 0, action, 0])
    assert [type(answer) for answer in answers] == [tuple, tuple, Restarted, Restarted]
    assert [answer.info["seed"] for answer in answers[2:]] == [12 + 1_000_003, 13 + 1_000_003]
    assert answers[2].info["pid"] == answers[3].info["pid"] not in pids
    assert "worker 1 (environments 2 to 3)" in answers[3].why
    assert "\n" not in answers[3].why
    assert times(workers.step([0] * 4)) == [2, 2, 1, 1]
    assert (workers.restarted, workers.restarts_left) == (1, 0)
    with pytest.raises(WorkerFailed):
        workers.step([0, action, 0, 0])
    assert gone([*pids, answers[2].info["pid"]])


def test_several_failures_in_one_step(open_workers: Open) -> None:
    workers, _ = open_workers(restarts=3)
    answers = workers.step(["raise", "raise", 0, "kill"])
    assert all(type(answer) is Restarted for answer in answers)
    jumps = [(answer.info["seed"] - 10 - i) // 1_000_003 for i, answer in enumerate(answers)]
    assert jumps == [1, 2, 3, 3]
    assert workers.restarts_left == 0


def test_a_world_restarted_by_the_reset_of_another_is_told_in_the_next_step(open_workers: Open) -> None:
    workers, _ = open_workers(KilledByReset, restarts=1)
    assert times(workers.step([0] * 4)) == [1, 1, 1, 1]
    (answer,) = workers.reset([None], [3])
    assert type(answer) is Restarted
    assert answer.why == "Trouble: worker 1 (environments 2 to 3) was killed by SIGKILL in reset of environment 3"
    answers = workers.step([0] * 4)
    assert [type(answer) for answer in answers] == [tuple, tuple, Restarted, tuple]
    assert answers[2].info["seed"] == 12 + 1_000_003
    assert times(workers.step([0] * 4)) == [3, 3, 1, 2]


def test_unseeded_worlds_stay_unseeded() -> None:
    workers = Workers("Trouble", Trouble, 1, processes=1, timeout=30, restarts=1)
    workers.reset([None])
    assert workers.step(["raise"])[0].info["seed"] is None
    workers.close()


def test_a_wrong_number_of_actions_harms_nothing(open_workers: Open) -> None:
    workers, _ = open_workers()
    with pytest.raises(ValueError, match="zip"):
        workers.step([0] * 3)
    assert times(workers.step([0] * 4)) == [1, 1, 1, 1]


def test_close_is_idempotent_and_closes_the_worlds(open_workers: Open, tmp_path: Path) -> None:
    class Closes(Trouble):
        def close(self) -> None:
            (tmp_path / f"{os.getpid()} {id(self)}").touch()

    workers, pids = open_workers(Closes)
    workers.close()
    assert gone(pids, within=0)
    workers.close()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_forgotten_object_leaves_no_process() -> None:
    workers = Workers("Trouble", Trouble, 2, processes=2, timeout=30, restarts=0)
    pids = [info["pid"] for _, info in workers.reset([0, 1])]
    del workers
    assert gone(pids)


def test_an_interrupt_in_a_step_closes_all(open_workers: Open) -> None:
    workers, pids = open_workers()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a process of its own
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            workers.step([0, 0, 0, "hang"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert gone(pids)


SCRIPT = """
import sys, time
import gymnasium as gym
from bellmax.envs.workers import Workers
from test_workers import Trouble

class Mine(Trouble):
    pass

gym.register("Mine-v0", Mine)
spec = gym.spec("Mine-v0")
workers = Workers("Mine", lambda: gym.make(spec, disable_env_checker=True), 2, processes=2, timeout=60, restarts=0)
print(*(info["pid"] for _, info in workers.reset([0, 1])), flush=True)
if sys.argv[1] != "exit":
    workers.step([0, "hang"] if sys.argv[1] == "step" else [0, 0])
    time.sleep(1000)
"""


@pytest.mark.parametrize("when", ["exit", "idle", "step"])
def test_a_parent_that_exits_or_is_killed_leaves_no_workers(tmp_path: Path, when: str) -> None:
    """The script has no `if __name__ == "__main__"`: it must not be run again by the workers."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(
        [sys.executable, script, when], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(set(pids)) == 2
        if when != "exit":
            time.sleep(0.2)
            parent.kill()
        assert parent.wait(10) == (0 if when == "exit" else -signal.SIGKILL)
        assert gone(pids, within=10)
        assert parent.stderr.read() == ""


@pytest.mark.parametrize(
    "error",
    [WorldFailed(1, "step", KeyError("x")), WorkerDied("T", 0, range(2), "step", "was killed by SIGKILL", 1)],
)
def test_the_errors_can_be_pickled_themselves(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy)) == (type(error), str(error))
