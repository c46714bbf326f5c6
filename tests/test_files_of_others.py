"""Models of other libraries hold code: they are not loaded, and the error says what they are and what to do."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main

REMEDY = "to load it would run code from the file, which bellmax never does: train the agent again"


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def like_sb3(path: Path) -> None:
    """A file with the members that `save` of Stable-Baselines3 writes, in its order."""
    code = pickle.dumps(Evil(path.parent / "marker"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":serialized:": code.hex()}}))
        archive.writestr("pytorch_variables.pth", b"")
        archive.writestr("policy.pth", code)
        archive.writestr("_stable_baselines3_version", "2.7.0")


def like_torch(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Evil(path.parent / "marker")))


DOORS = {
    "policy": bx.load_policy, "run": bx.load, "resume": bx.resume,
    "evaluate": lambda path: bx.evaluate(path, "CartPole-v1", episodes=1),
}  # fmt: skip
SB3, PICKLE = "is a model of Stable-Baselines3, a zip archive with pickled Python objects", "is a pickle"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("name", "asked", "write", "said"),
    [
        ("ppo.zip", "ppo.zip", like_sb3, SB3),
        ("ppo.zip", "ppo", like_sb3, SB3),
        ("model.pt", "model", like_torch, "is a zip archive, as PyTorch and Stable-Baselines3 write"),
        ("q.pkl", "q.pkl", lambda path: path.write_bytes(pickle.dumps(Evil(path.parent / "marker"))), PICKLE),
        ("q.bin", "q.bin", lambda path: path.write_bytes(pickle.dumps(Evil(path.parent / "marker"))), PICKLE),
        ("q.pkl", "q", lambda path: path.write_bytes(b"cos\nmkdir\n(S'marker'\ntR."), PICKLE),  # protocol 0
    ],
)
def test_a_model_of_another_library_is_not_loaded(door, name, asked, write, said, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(bx.UnsafeFile) as caught:
        DOORS[door](tmp_path / asked)
    assert str(caught.value).startswith(f"{tmp_path / name} {said}; {REMEDY}")
    assert not (tmp_path / "marker").exists()


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    like_sb3(tmp_path / "ppo.zip")
    done = CliRunner().invoke(main, ["eval", str(tmp_path / "ppo.zip")])
    assert done.exit_code == 1
    assert f"ppo.zip {SB3}; {REMEDY}" in done.stderr


def test_a_policy_beside_such_a_model_is_loaded(tmp_path: Path) -> None:
    run = bx.train("corridor", "q-learning", steps=100, final_episodes=1)
    run.policy().save(tmp_path / "ppo")
    like_sb3(tmp_path / "ppo.zip")
    assert bx.load_policy(tmp_path / "ppo").table().shape == (6, 2)


def test_arrays_are_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", q=np.zeros(3))
    with pytest.raises(bx.ConfigError, match="no policy"):
        bx.load_policy(tmp_path / "data.npz")
