"""While something is saved any call may fail, and the process or the power die: old state or new one."""

import errno
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from crashing import Case, survives_failures

import bellmax as bx
from bellmax.contracts import Discrete
from bellmax.files.saved_files import files_of
from bellmax.training import resume, trainer
from bellmax.training.policy import Policy

HERE = Path(__file__).parent
TABLE = Policy("corridor", bx.QLearning(), Discrete(6), 2, {"q": np.arange(12.0).reshape(6, 2)})
OTHER = Policy("corridor", bx.QLearning(gamma=0.5), Discrete(7), 2, {"q": np.ones((7, 2))})


def policy_state(folder: Path) -> object:
    policy = bx.load_policy(folder / "p")
    return policy.config, policy.space, policy.arrays["q"].tobytes()


def save_in(policy: Policy, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    policy.save(folder / "p")


def data(n: int) -> bx.Dataset:
    flags = np.zeros(n, np.bool_)
    return bx.Dataset(np.arange(n), flags.astype(int), np.ones(n), flags, flags, np.arange(n) + 1)


def save_data(n: int, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    data(n).save(folder / "d.safetensors")


class StopError(Exception):
    """Stands for the power that goes out."""


ASKED = {"steps": 400, "seeds": 2, "records": 4, "final_episodes": 2, "progress": False}


def begin_run(folder: Path) -> None:
    """A run that was saved at steps 100 and 200, and lost power."""
    with pytest.MonkeyPatch.context() as patch:
        record = trainer.Trainer.record

        def record_and_stop(self, *arguments):
            record(self, *arguments)
            if len(self.run.history) == 2:
                raise StopError

        patch.setattr(trainer, "SAVE_SECONDS", -1.0)
        patch.setattr(trainer.Trainer, "record", record_and_stop)
        with pytest.raises(StopError):
            bx.train("FrozenLake-v1", "q-learning", loop="host", keep_experience=False, out=folder, **ASKED)


def finish_run(folder: Path) -> None:
    """Save at step 300, after the last step, and the result."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", bx.RunWarning)  # of saves that fail while training goes on
        patch.setattr(trainer, "SAVE_SECONDS", -1.0)
        bx.resume(folder, progress=False)


def run_state(folder: Path) -> object:
    """Everything that is read of a run, without the times."""
    run, files = bx.load(folder), files_of(folder)
    assert files.manifest is not None
    if not run.scores:
        stopped = resume.load_stopped(folder)
        assert (stopped.step, stopped.remarks) == (files.manifest.step, [])
    steady = [name for name in run.history.columns if not name.startswith(("time/", "system/"))]
    policies = [policy.arrays["q"] for policies in run.policies.values() for policy in policies]
    arrays = [
        *(run.history[name] for name in steady),
        *policies,
        *(each.returns for each in (*run.episodes, *run.evaluations)),
    ]
    content = b"".join(np.asarray(array).tobytes() for array in arrays)
    return files.manifest.step, run.history.step, run.scores, hashlib.sha256(content).hexdigest()


CASES = {
    "policy": Case(lambda folder: save_in(TABLE, folder), lambda folder: save_in(OTHER, folder), policy_state),
    "data": Case(lambda folder: save_data(3, folder), lambda folder: save_data(5, folder),
                 lambda folder: bx.Dataset.load(folder / "d.safetensors").reward.tolist()),
    "run": Case(begin_run, finish_run, run_state),
}  # fmt: skip
CODES = [errno.ENOSPC, errno.EIO, errno.EROFS]
FEW = [pytest.param("policy", 1), pytest.param("data", 1), pytest.param("run", 29)]
ALL = pytest.param("run", 1, marks=pytest.mark.slow)


@pytest.mark.parametrize("code", CODES, ids=[errno.errorcode[code] for code in CODES])
@pytest.mark.parametrize(("name", "stride"), [*FEW, ALL])
def test_whatever_write_fails(name: str, stride: int, code: int, tmp_path: Path) -> None:
    survives_failures(CASES[name], tmp_path, code, stride)


@pytest.mark.parametrize("how", ["killed", "power"])
@pytest.mark.parametrize(("name", "stride"), [*FEW, ALL])
def test_wherever_the_process_dies(name: str, stride: int, how: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(HERE / "crashing.py"), "test_crash_loop", name, str(tmp_path.resolve()), how]
    subprocess.run([*command, str(stride)], check=True, timeout=600, env=environ)
