"""Every way into bellmax that reads files of somebody else, and what each may do: an error in words, or the same."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import BellmaxError, EnvWarning, ModelWarning, RunWarning
from bellmax.files.data_sources import read_data
from bellmax.files.existing_folders import check_usable
from bellmax.training import play, trainer

# libraries that bellmax or Gymnasium imports where a file names an agent or an environment of theirs
LIBRARIES = (
    "bellmax", "gymnasium", "gymnax", "flax", "chex", "minigrid", "ale_py", "numba", "llvmlite", "jax", "jaxlib",
    "scipy", "numpy", "resource", "optax", "equinox", "jaxtyping", "ml_dtypes", "safetensors", "rich",
    "pygame", "cloudpickle",
)  # fmt: skip
# what a file must never make happen; `import` only of modules that are neither here already nor of these libraries
FORBIDDEN = (
    "exec", "compile", "pickle.find_class", "marshal.loads", "subprocess.Popen", "os.system", "os.exec", "os.fork",
    "os.posix_spawn", "os.spawn", "socket.connect", "socket.bind", "ctypes.dlopen", "code.__new__", "urllib.Request",
    "shutil.rmtree", "os.chmod", "os.link", "os.symlink", "webbrowser.open",
)  # fmt: skip
NOTED = {"import", "open", *FORBIDDEN}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class LoadedError(Exception):
    """A run has been restored, and would now train."""


class Guard:
    """Notes what happens that a file must not cause, while it is `on`."""

    def __init__(self, homes: tuple[str, ...]) -> None:
        """`homes` are the folders in which files may be written."""
        self.on = False
        self.found: list[str] = []
        self.known = {name.partition(".")[0] for name in (*sys.modules, *LIBRARIES)}
        self.homes = (*homes, "/dev/", "/proc/")
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """See `sys.addaudithook`."""
        if not self.on or (event in NOTED and _of_workers()):
            return
        if event == "import":
            name = str(args[0])
            if name.partition(".")[0] not in self.known:
                self.found.append(f"import {name}")
        elif event == "open":
            path, mode, flags = args
            writes = (isinstance(flags, int) and flags & WRITING) or (isinstance(mode, str) and set(mode) & set("wax+"))
            if writes and not str(path).startswith(self.homes) and type(path) is not int:
                self.found.append(f"writes {path}")
        elif event in FORBIDDEN and not (event in ("exec", "compile", "marshal.loads", "ctypes.dlopen") and _ours()):
            self.found.append(f"{event} {str(args)[:100]}")


def _of_workers() -> bool:
    """Whether worker processes are started or spoken to: a run may ask for them, and they talk through sockets."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.endswith("bellmax/envs/workers.py"):
            return True
        frame = frame.f_back
    return False


def _ours() -> bool:
    """Whether a module of an installed library is being imported, or one of them compiles code of its own."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or "/numba/" in name or "/jax/" in name or "/jaxlib/" in name:
            return True
        if name.endswith(
            ("collections/__init__.py", "dataclasses.py", "/ast.py", "/inspect.py", "/numpy/_core/records.py")
        ):
            return True
        frame = frame.f_back
    return False


class Answer(NamedTuple):
    """What a door said.

    Attributes:
        said: the class of the error, "" if there was none.
        problem: what it must not do; "" if there is none.
        result: what can be compared with that of the original.
        seconds: of the processor.
        megabytes: that this process held at most, above what it held before.
    """

    said: str
    problem: str
    result: object
    seconds: float
    megabytes: float


def of_run(run: bx.Run) -> object:
    """Everything that is read of a run."""
    policies = [(which, [of_policy(policy) for policy in some]) for which, some in run.policies.items()]
    played = [
        [(each.returns.tobytes(), each.lengths.tobytes()) for each in some] for some in (run.episodes, run.evaluations)
    ]
    visits = None if run.visits is None else run.visits.tobytes()
    return run.world, run.config, run.steps, run.seeds, run.scores, run.history.to_csv(), policies, played, visits


def of_policy(policy: Any) -> object:
    """Everything that is read of a policy."""
    return (
        policy.world,
        policy.config,
        policy.space,
        policy.n_actions,
        {k: a.tobytes() for k, a in policy.arrays.items()},
    )


def of_data(data: bx.Dataset) -> object:
    """Everything that is read of a data set."""
    return [(name, array.dtype, array.shape, array.tobytes()) for name, array in sorted(data.arrays().items())]


def verb(*words: str) -> None:
    """A verb of the command line; raises what it says."""
    done = CliRunner().invoke(main, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if "a bug in bellmax" in done.stderr and "LoadedError" not in done.stderr:
        raise AssertionError(done.stderr)
    if done.exit_code:
        raise BellmaxError(done.stderr[-2_900:].strip() or "nothing was said")


def resumed(folder: Path) -> object:
    """The step that a run would be resumed from."""
    said: list[str] = []
    with contextlib.suppress(LoadedError):
        bx.resume(folder, progress=False, say=said.append)
    return [line for line in said if "resumed at step" in line]


RUN: dict[str, Callable[[Path], object]] = {
    "load": lambda folder: of_run(bx.load(folder)),
    "evaluate": lambda folder: bx.evaluate(folder, episodes=1).returns.tobytes(),
    "bellmax eval": lambda folder: verb("eval", str(folder), "--episodes", "1", "--json"),
    "replace": lambda folder: check_usable(folder, "replace"),
    "data of a run": lambda folder: of_data(read_data(folder)),
    "resume": resumed,
    "bellmax resume": lambda folder: verb("resume", str(folder), "--quiet"),
}
POLICY: dict[str, Callable[[Path], object]] = {
    "load_policy": lambda stem: of_policy(bx.load_policy(stem)),
    "evaluate": lambda stem: bx.evaluate(stem, episodes=1).returns.tobytes(),
}
DATA: dict[str, Callable[[Path], object]] = {
    "Dataset.load": lambda path: of_data(bx.Dataset.load(path)),
    "data": lambda path: of_data(read_data(path)),
}


@contextlib.contextmanager
def without_training() -> Iterator[None]:
    """A resumed run ends as soon as it is restored, and an evaluation after a few steps."""
    reach, finish, cap = trainer.Trainer.reach, trainer.Trainer.finish, play.STEP_CAP

    def loaded(*arguments: object) -> None:
        raise LoadedError

    trainer.Trainer.reach = trainer.Trainer.finish = loaded  # type: ignore[method-assign]
    play.STEP_CAP = 20
    try:
        yield
    finally:
        trainer.Trainer.reach, trainer.Trainer.finish = reach, finish  # type: ignore[method-assign]
        play.STEP_CAP = cap


def memory(name: str) -> float:
    """Megabytes of this process: VmRSS, or VmHWM, the most since `forget_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def forget_peak() -> None:
    """Begin to measure the most memory anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def ask(guard: Guard | None, door: Callable[[Path], object], path: Path) -> Answer:
    """Go through one door, and see what happens."""
    forget_peak()
    before, begin = memory("VmRSS"), time.process_time()
    said, problem, result = "", "", None
    if guard is not None:
        guard.found, guard.on = [], True
    try:
        with warnings.catch_warnings(), without_training():
            warnings.simplefilter("error")
            for kind in (EnvWarning, ModelWarning, RunWarning):
                warnings.simplefilter("ignore", kind)
            result = door(path)
    except BellmaxError as error:
        said, text = type(error).__name__, str(error)
        if not text.strip() or len(text) > 3_000 or any((ord(c) < 32 and c != "\n") or c in "\u202e\x7f" for c in text):
            problem = f"the message has {len(text)} characters: {text[:200]!r}"
    except Exception as error:  # what this looks for
        said, problem = type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}; {_where(error)}"
    finally:
        if guard is not None:
            guard.on = False
    seconds, most = time.process_time() - begin, memory("VmHWM") - before
    return Answer(said, problem or "; ".join(guard.found if guard else []), result, seconds, most)


def _where(error: BaseException) -> str:
    trace, places = error.__traceback__, []
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " ".join(places[-6:])
