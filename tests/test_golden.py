"""Files of every format that a version wrote are read by this one, and hold what they held."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax.files import manifest, storage

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.name for path in GOLDEN.glob("format-*"))
OBSERVATION = [0.02, -0.5, 0.01, 0.75]


def expected(form: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / form / "expected.json").read_text(encoding="utf-8"))[name]
    return found


def test_every_format_is_stored() -> None:
    """After a format was raised, `python tests/golden/write.py` stores files of it."""
    assert [f"format-{form}" for form in range(1, manifest.FORMAT + 1)] == FORMATS
    assert json.loads((GOLDEN / FORMATS[-1] / "policy-table.json").read_text())["format"] == storage.FORMAT


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["table", "many", "stopped"])
def test_a_run_with_a_table_holds_what_it_held(form: str, name: str) -> None:
    run, held = bx.load(GOLDEN / form / name), expected(form, name)
    assert [run.scores, run.history["step"].tolist()] == [held["scores"], held["steps"]]
    assert run.history.columns == held["columns"]
    assert [run.policy(seed).table().tolist() for seed in run.seeds] == held["q"]
    assert [each.returns.tolist() for each in run.episodes] == held["episodes"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_holds_what_it_held(form: str) -> None:
    run, held = bx.load(GOLDEN / form / "network"), expected(form, "network")
    assert run.scores == held["scores"]
    assert_same_values(run, held)
    alone = bx.load_policy(GOLDEN / form / "policy-network")
    np.testing.assert_allclose(alone.q_values(OBSERVATION), held["q_values"]["best"], rtol=1e-5)


def assert_same_values(run: bx.Run, held: dict[str, Any]) -> None:
    for which, values in held["q_values"].items():
        np.testing.assert_allclose(run.policy(0, which).q_values(OBSERVATION), values, rtol=1e-5)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["table", "network", "stopped"])
def test_a_run_is_evaluated(form: str, name: str) -> None:
    seeds = 1 if name == "network" else 2
    assert np.isfinite(bx.evaluate(GOLDEN / form / name, episodes=2, progress=False).returns).sum() == 2 * seeds


@pytest.mark.parametrize("form", FORMATS)
def test_policies_and_data_hold_what_they_held(form: str) -> None:
    policy = bx.load_policy(GOLDEN / form / "policy-table")
    assert policy.table().tolist() == expected(form, "table")["q"][1]
    data = bx.Dataset.load(GOLDEN / form / "data.safetensors")
    assert data.returns().tolist() == expected(form, "data")["returns"]
    assert [part.shape for part in data.obs] == [(9,), (9, 1)]
    experience = bx.Dataset.load(GOLDEN / form / "network" / "experience" / "seed-0.safetensors")
    np.testing.assert_allclose(experience.obs.sum(), expected(form, "network")["experience"], rtol=1e-6)


@pytest.mark.parametrize("form", FORMATS)
def test_a_stopped_run_is_resumed_or_says_why_not(form: str, tmp_path: Path) -> None:
    """A checkpoint is promised to the minor version that wrote it."""
    folder = Path(shutil.copytree(GOLDEN / form / "stopped", tmp_path / "run"))
    wrote = json.loads((GOLDEN / form / "expected.json").read_text(encoding="utf-8"))["bellmax"]
    if form == "format-1":
        with pytest.raises(
            bx.IncompatibleCheckpoint, match=r"is of an older version, .* with the bellmax that wrote it"
        ):
            bx.resume(folder)
        return
    if wrote.split(".")[:2] != bx.__version__.split(".")[:2]:
        with pytest.raises(bx.CheckpointError, match="the checkpoint"):
            bx.resume(folder)
        return
    run = bx.resume(folder)
    assert run.history["step"].tolist() == [100, 200, 300]
    assert len(bx.load(folder).scores) == 2


def test_a_stopped_network_holds_what_it_held() -> None:
    assert_same_values(bx.load(GOLDEN / FORMATS[-1] / "stopped-network"), expected(FORMATS[-1], "stopped-network"))


@pytest.mark.slow  # it compiles all of a DQN
def test_a_stopped_network_is_resumed_by_the_version_that_saved_it(tmp_path: Path) -> None:
    """If this fails, what is in a checkpoint has changed: raise the format, or the minor version."""
    folder = Path(shutil.copytree(GOLDEN / FORMATS[-1] / "stopped-network", tmp_path / "run"))
    wrote = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["bellmax"]
    if wrote.split(".")[:2] == bx.__version__.split(".")[:2]:
        run = bx.resume(folder, progress=False)
        assert run.history["step"].tolist() == [80, 160, 240]
        assert np.isfinite(bx.load(folder).scores).all()


def test_damage_of_a_checkpoint_of_format_1_is_found(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "format-1" / "stopped", tmp_path / "run"))
    path = next((folder / "checkpoint").iterdir())
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(bx.CorruptCheckpoint, match=rf"{path.name} .* is not what was saved; its SHA-256 differs"):
        bx.resume(folder)
    path.unlink()
    with pytest.raises(bx.CorruptCheckpoint, match=path.name):
        bx.resume(folder)
