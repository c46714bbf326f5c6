"""The state of a tabular learner from a file: every index is held against its range before a kernel uses it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as to_bytes
from saved import StopError, lose_power, reseal

import bellmax as bx
from bellmax.catalog import AGENTS, is_tabular, make_agent
from bellmax.files import manifest
from bellmax.files.storage import fingerprint
from bellmax.loops.choosing import make_loop
from bellmax.sources import find_world
from bellmax.training import trainer

TABULAR = [name for name in AGENTS if is_tabular(make_agent(name, "", {}))]
TILED = ("q-learning", "double-q", "n-step-sarsa", "monte-carlo", "sarsa-lambda", "watkins-q")
CASES = [
    *((name, "FrozenLake-v1", "compiled", {}) for name in TABULAR),
    *((name, "FrozenLake-v1", "host", {}) for name in ("q-learning", "dyna-q", "tree-backup", "peng-q")),
    *((name, "MountainCar-v0", "compiled", {"tilings": 4}) for name in TILED),
    *((name, "MountainCar-v0", "host", {"tilings": 4}) for name in TILED[:1]),
    ("q-learning", "admission-control", "compiled", {}),
    ("prioritized-sweeping", "admission-control", "compiled", {"gamma": 0.9}),
]


def dumped(name: str, world: str, kind: str, settings: dict[str, Any]) -> Any:
    """(loop, arrays of one seed after 150 steps)."""
    config: Any = make_agent(name, "", settings)
    loop = make_loop(config, find_world(world), kind, 150)
    state, *_ = loop.advance(loop.start([0]), 0, 150)
    arrays = loop.dump(state)
    loop.close(state)
    return loop, arrays


def restore(loop: Any, arrays: dict[str, Any]) -> None:
    loop.close(loop.restore([0], arrays))


def places(array: Any) -> Iterator[tuple[int, ...]]:
    """The first, the last, and one in the middle."""
    for flat in sorted({0, array.size // 2, array.size - 1}):
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape))


@pytest.mark.parametrize(("name", "world", "kind", "settings"), CASES)
def test_no_number_out_of_range_reaches_a_kernel(name: str, world: str, kind: str, settings: dict[str, Any]) -> None:
    loop, arrays = dumped(name, world, kind, settings)
    restore(loop, arrays)  # what was saved is sound
    integers = 0
    for path, array in arrays.items():
        if not array.size or array.dtype.kind in "ub":
            continue
        most = None if array.dtype.kind == "f" else min(2**62 + 1, np.iinfo(array.dtype).max)
        wrong: list[Any] = [np.nan, np.inf] if most is None else [-7, most]
        integers += array.dtype.kind == "i"
        for value in wrong:
            for place in places(array):
                bad = array.copy()
                bad[place] = value
                with pytest.raises(bx.CheckpointError, match=path.replace("[", ".")):
                    restore(loop, arrays | {path: bad})
    assert integers >= 2


@pytest.mark.parametrize("name", ["dyna-q", "prioritized-sweeping", "r-max", "sarsa-lambda", "speedy-q"])
def test_parts_that_do_not_belong_together(name: str) -> None:
    """Each index is in its range, but another learner's."""
    loop, arrays = dumped(name, "FrozenLake-v1", "compiled", {})
    _, fresh = dumped(name, "FrozenLake-v1", "compiled", {"gamma": 0.5, "initial_q": 3.0})
    paths = [path for path in arrays if path.startswith("state.memory") and arrays[path].dtype.kind == "i"]
    changed = 0
    for path in paths:
        for replacement in (np.zeros_like(arrays[path]), np.roll(arrays[path], 1), fresh[path]):
            mixed = arrays | {path: replacement}
            try:
                restore(loop, mixed)
            except bx.CorruptCheckpoint:
                changed += 1
                continue
            state = loop.restore([0], mixed)  # whatever passes is safe to go on with
            loop.advance(state, 150, 50)
    assert changed >= 1


def stopped(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setattr(trainer, "SAVE_SECONDS", -1.0)
    with patch.context() as now:
        lose_power(now)
        with pytest.raises(StopError):
            bx.train("FrozenLake-v1", "q-learning", steps=2_000, out=folder, progress=False)
    return folder


def change(folder: Path, name: str, place: Any, value: Any) -> None:
    """Another number in the checkpoint, hash and all."""
    (path,) = (folder / "checkpoint").glob("*.safetensors")
    arrays = {key: array.copy() for key, array in load_file(path).items()}
    arrays[name][place] = value
    path.write_bytes(to_bytes(arrays))
    reseal(folder)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("state.clock.obs", (0, 0), 16, r"state\.clock\.obs\[0\] is 16; it can be -1 to 15"),
        ("state.clock.obs", (0, 0), 17, r"state\.clock\.obs\[0\] is 17; it can be -1 to 15"),
        ("state.clock.obs", (0, 0), -5, r"state\.clock\.obs\[0\] is -5; it can be -1 to 15"),
        ("state.clock.obs", (0, 0), -1, r"observation -1 with action"),
        ("state.clock.action", (0, 0), 4, r"state\.clock\.action\[0\] is 4; it can be -1 to 3"),
        ("state.clock.action", (0, 0), -1, r"observation \d+ with action -1"),
        ("state.q", (0, 3, 1), np.nan, r"state\.q has nan where only a finite number can be"),
        ("state.q", (0, 3, 1), -np.inf, r"state\.q has -inf where only a finite number can be"),
        ("state.visits", (0, 3, 1), -1, r"state\.visits\[3, 1\] is -1; it can be 0 to"),
    ],
)
def test_a_changed_checkpoint_is_refused(
    name: str, place: Any, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    change(folder, name, place, value)
    with pytest.raises(bx.CorruptCheckpoint, match=message):
        bx.resume(folder, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": np.full((16, 4), np.nan)}, "q has a NaN or an infinity"),
        ({"q": np.full((16, 4), np.inf)}, "q has a NaN or an infinity"),
        ({"q": np.zeros((16, 4), np.int64)}, "q is of type int64"),
        ({"q": np.zeros((17, 4))}, r"arrays are .*17, 4"),
        ({"q": np.zeros((16, 3))}, r"arrays are .*16, 3"),
        ({"visits": np.full((16, 4), -1)}, "visits has a negative number"),
        ({"visits": np.zeros((16, 4))}, "visits is of type float64"),
    ],
)
def test_a_policy_with_other_arrays_is_refused(changes: Any, message: str, tmp_path: Path) -> None:
    bx.train("FrozenLake-v1", "q-learning", steps=100, out=tmp_path / "run", final_episodes=1, progress=False)
    stem = tmp_path / "run" / "policies" / "seed-0-final"
    card = json.loads(stem.with_suffix(".json").read_text())
    arrays = load_file(stem.with_suffix(".safetensors")) | changes
    save_file(arrays, stem.with_suffix(".safetensors"), metadata={"sha256": fingerprint(card, arrays)})
    reseal(tmp_path / "run")
    with pytest.raises(bx.CorruptCheckpoint, match=message):
        bx.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("episodes", {"counts": np.array([-1], np.int64)}),
        ("episodes", {"counts": np.array([3], np.int64)}),
        ("episodes", {"lengths": np.zeros(2, np.int64)}),
        ("episodes", {"returns": np.zeros((2, 2))}),
        ("visits", {"visits": np.full((1, 1, 16, 4), -1)}),
        ("visits", {"visits": np.zeros((1, 1, 16, 4))}),
        ("visits", {"visits": np.zeros((1, 1, 16), np.int64)}),
    ],
)
def test_what_a_run_stored_is_checked(file: str, changes: dict[str, Any], tmp_path: Path) -> None:
    bx.train("FrozenLake-v1", "q-learning", steps=100, out=tmp_path / "run", final_episodes=1, progress=False)
    path = tmp_path / "run" / f"{file}.safetensors"
    arrays = load_file(path) | changes
    path.write_bytes(to_bytes(arrays, metadata={"sha256": fingerprint({}, arrays)}))
    reseal(tmp_path / "run")
    with pytest.raises(bx.CorruptCheckpoint):
        bx.load(tmp_path / "run")


# only our own files


def test_a_checkpoint_that_is_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    elsewhere = tmp_path / "elsewhere"
    (folder / "checkpoint").rename(elsewhere)
    (elsewhere / "thesis.txt").write_text("mine")
    (folder / "checkpoint").symlink_to(elsewhere)
    before = sorted(path.name for path in elsewhere.iterdir())
    with pytest.raises(bx.UnsafeFile, match="checkpoint is a link, and a run uses only its own folder"):
        bx.resume(folder, progress=False)
    with pytest.raises(bx.UnsafeFile):
        manifest.commit(folder, [("checkpoint/step-5.group-0.safetensors", b"")], {}, step=5)
    assert sorted(path.name for path in elsewhere.iterdir()) == before


@pytest.mark.parametrize("name", ["policies", "experience"])
def test_other_folders_that_are_links_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    elsewhere = tmp_path / "elsewhere"
    if (folder / name).exists():
        (folder / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(bx.UnsafeFile, match=f"{name} is a link"):
        bx.resume(folder, progress=False)


def test_a_link_in_the_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    (path,) = (folder / "checkpoint").glob("*.safetensors")
    path.rename(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(bx.UnsafeFile, match="is a link"):
        bx.resume(folder, progress=False)


def test_files_of_others_stay_and_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    place = folder / "checkpoint"
    (place / "notes.txt").write_text("mine")
    (place / "mine").mkdir()
    (place / "mine" / "data").write_text("mine")
    (place / "step-1.group-0.safetensors.bak").mkdir()
    (place / "step-7.group-0.safetensors").write_text("an older one of ours")
    (place / ".step-7.group-0.safetensors.abc_1234").write_text("what was being written")
    (folder / "policies" / ".DS_Store").write_text("")
    (folder / "policies" / "mine").mkdir()
    run = bx.resume(folder, progress=False)
    assert run.scores
    assert sorted(path.name for path in place.iterdir()) == ["mine", "notes.txt", "step-1.group-0.safetensors.bak"]
    assert (place / "mine" / "data").read_text() == "mine"
    assert bx.load(folder).scores == run.scores


def test_the_step_of_a_manifest_is_that_of_its_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(tmp_path / "run", monkeypatch)
    good = manifest.read_manifest(folder)
    assert good is not None
    names = good.checkpoints[good.step]
    for step in (good.step - 1, good.step + 1, 2_000, 3_000, 10**12):
        reseal(folder, step=step, checkpoints={step: names})
        said: list[str] = []
        with pytest.raises(bx.CorruptCheckpoint, match=f"names step {step:,}, but its states are at {good.step:,}"):
            bx.resume(folder, progress=False, say=said.append)
        assert not said
    reseal(folder, step=2_001, checkpoints={2_001: []})
    with pytest.raises(bx.CorruptCheckpoint, match=r"names step 2,001, but the run ends at 2,000; resume from another"):
        bx.resume(folder, progress=False)
    reseal(folder, step=good.step, checkpoints=good.checkpoints)
    assert bx.resume(folder, progress=False).scores
