"""Damage of a checkpoint: it is found before an array is used, the one before it is used, and a line says so."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from saved import reseal
from test_crash_loop import begin_run

import bellmax as bx
from bellmax.files import manifest, storage
from bellmax.training.resume import load_stopped


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    begin_run(folder)  # checkpoints of steps 100 and 200
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def files_of_step(folder: Path, step: int) -> list[Path]:
    found = manifest.read_manifest(folder)
    assert found is not None
    return [folder / name for name in found.checkpoints[step]]


def is_passed_over(folder: Path, path: Path) -> None:
    """Without a step the checkpoint before is used, and a line names the file; with the step there is an error."""
    found = load_stopped(folder)
    assert found.step == 100
    (remark,) = found.remarks
    assert remark.startswith(f"the checkpoint of step 200 is damaged, and the one before it is used: {path}")
    with pytest.raises(bx.CorruptCheckpoint, match=path.name):
        load_stopped(folder, 200)


def cuts(size: int) -> Iterator[int]:
    """Every sixteenth of a size, and one byte less than all."""
    return itertools.chain((size * k // 16 for k in range(16)), (1, size - 1))


def test_a_checkpoint_that_was_cut(folder: Path) -> None:
    for path in files_of_step(folder, 200):
        whole = path.read_bytes()
        for size in cuts(len(whole)):
            path.write_bytes(whole[:size])
            is_passed_over(folder, path)
        path.write_bytes(whole + b"\0")
        is_passed_over(folder, path)
        path.unlink()
        is_passed_over(folder, path)
        path.write_bytes(whole)
        assert load_stopped(folder).step == 200


@pytest.mark.parametrize("stride", [41, pytest.param(1, marks=pytest.mark.slow)])
def test_a_checkpoint_with_a_flipped_bit(stride: int, folder: Path) -> None:
    """In each byte of the header, and in random ones of the data."""
    path = files_of_step(folder, 200)[0]
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    data = np.random.default_rng(0).integers(header, len(whole), 800 // stride).tolist()
    for position in (*range(0, header, stride), *data):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        is_passed_over(folder, path)


def test_files_exchanged_between_two_checkpoints(folder: Path) -> None:
    """Also between two groups of seeds of the same one."""
    new, old = files_of_step(folder, 200), files_of_step(folder, 100)
    assert len(new) == len(old) == 2
    for one, other in [(new[0], old[0]), (new[1], old[1]), (new[0], new[1])]:
        content, exchanged = one.read_bytes(), other.read_bytes()
        assert content != exchanged
        one.write_bytes(exchanged)
        is_passed_over(folder, one)
        one.write_bytes(content)
    for path in (*new, *old):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(bx.CorruptCheckpoint, match=r"the run has checkpoints of steps 100, 200"):
        bx.resume(folder)


def test_what_lies_around_is_left_where_it_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "bellmax.files")
    place = files_of_step(folder, 200)[0].parent
    strays = [folder / "step_100.bak", folder / ".DS_Store", place / ".DS_Store", place / "step-300.bak"]
    for path in strays:
        path.write_bytes(b"mine")
    (place / "step-400").mkdir()
    (folder / "tmp-0a1b").mkdir()
    times = [os.stat(path).st_mtime_ns for path in strays]
    assert load_stopped(folder).step == 200
    (line,) = caplog.messages
    assert line == (
        f"{folder}: ignored, because no run has files of these names: .DS_Store, checkpoint/.DS_Store, "
        "checkpoint/step-300.bak, checkpoint/step-400, step_100.bak, tmp-0a1b"
    )
    assert bx.resume(folder).scores
    assert [os.stat(path).st_mtime_ns for path in strays] == times
    assert (place / "step-400").is_dir()
    assert bx.load(folder).scores


def test_a_checkpoint_that_lacks_an_array(folder: Path) -> None:
    """By someone who knows how to make the hashes fit."""
    path = files_of_step(folder, 200)[0]
    whole = load_file(path)
    for name in ("obs", "slot", "state.q", "state.generator"):
        path.write_bytes(storage.to_bytes({key: array for key, array in whole.items() if key != name}))
        reseal(folder)
        with pytest.raises(bx.CheckpointError, match="checkpoint"):
            bx.resume(folder, step=200, progress=False)
