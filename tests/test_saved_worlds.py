"""A run's folder may come from anybody: nothing in it imports, writes elsewhere or opens a window by itself."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from saved import StopError, lose_power, reseal

import bellmax as bx
from bellmax.cli import main
from bellmax.files.saved_environments import PURE_WRAPPERS, find_risks, find_saved_world
from bellmax.files.storage import fingerprint

MODULE = "module_of_a_stranger"
WRAP, ENV = f"{MODULE}:Wrap", f"{MODULE}:Env"


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A module that leaves a mark when it is imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    mark = folder / "imported"
    lines = f"open({str(mark)!r}, 'w').close()\nimport gymnasium\nWrap = gymnasium.wrappers.FlattenObservation\n"
    (folder / f"{MODULE}.py").write_text(lines + "from gymnasium.envs.toy_text import FrozenLakeEnv as Env\n")
    sys.path.insert(0, str(folder))
    yield mark
    sys.path.remove(str(folder))


@pytest.fixture
def mark(marker: Path) -> Iterator[Path]:
    marker.unlink(missing_ok=True)
    sys.modules.pop(MODULE, None)
    yield marker
    assert not marker.exists()
    assert MODULE not in sys.modules


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that lost power."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        lose_power(patch)
        with pytest.raises(StopError):
            bx.train("FrozenLake-v1", "q-learning", steps=60, records=2, loop="host", out=folder, progress=False)
    return folder


@pytest.fixture
def hostile(stopped: Path, tmp_path: Path) -> Any:
    """`hostile(changes)`: a copy of the run with other entries in config.json and in its policies, hashes and all."""

    def change(changes: dict[str, Any]) -> Path:
        folder = Path(shutil.copytree(stopped, tmp_path / "run", dirs_exist_ok=True))
        for path in (folder / "config.json", *(folder / "policies").glob("*.json")):
            card = json.loads(path.read_text()) | changes
            path.write_text(json.dumps(card))
            arrays = path.with_suffix(".safetensors")
            if arrays.exists():
                tensors = load_file(arrays)
                arrays.write_bytes(to_bytes(tensors, metadata={"sha256": fingerprint(card, tensors)}))
        reseal(folder)
        return folder

    return change


def assert_refused(folder: Path) -> None:
    """By all ways to open a run."""
    for enter in (
        lambda: bx.evaluate(bx.load(folder).policy(), episodes=1),
        lambda: bx.collect(bx.load(folder).policy(), steps=2),
        lambda: bx.resume(folder, progress=False),
    ):
        with pytest.raises(bx.CheckpointError):
            enter()
    for words in (["eval", str(folder), "--episodes", "1"], ["resume", str(folder), "--quiet"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 1, done.output
        assert done.output.startswith("error: "), done.output
        assert "bellmax itself" not in done.output


@pytest.mark.parametrize(
    "wrappers",
    [
        WRAP,
        {"name": WRAP},
        [WRAP],
        [{"name": WRAP}],
        [[WRAP]],
        [[{"name": WRAP}]],
        [{"name": [WRAP]}],
        [{"name": {"name": WRAP}}],
        [{"Name": WRAP}],
        {WRAP: {}},
        {"0": WRAP},
        {"0": {"name": WRAP}},
        [None, WRAP],
        [1, {"name": WRAP}],
        ["FlattenObservation", WRAP],
        [{"name": "FlattenObservation", "wrappers": [WRAP]}],
        [{"name": "TimeLimit", "max_episode_steps": {"entry_point": WRAP}}],
        [{"name": "TransformReward", "func": f"{MODULE}.Wrap"}],
        [{"name": "DtypeObservation", "dtype": f"{MODULE}.Wrap"}],
        [{"name": "RecordVideo", "video_folder": "videos"}],
        ["RecordVideo"],
        ["recordvideo"],
        [" RecordVideo"],
        ["gymnasium.wrappers:RecordVideo"],
        ["HumanRendering"],
        "RecordVideo",
        {"name": "RecordVideo", "video_folder": "videos"},
        True,
        7,
    ],
    ids=json.dumps,
)
def test_wrappers_of_a_stranger(wrappers: Any, hostile: Any, mark: Path) -> None:
    assert_refused(hostile({"env_kwargs": {"wrappers": wrappers}}))


@pytest.mark.parametrize(
    "env_kwargs",
    [
        {"render_mode": "human"},
        {"render_mode": "HUMAN"},
        {"render_mode": ["human"]},
        {"Render_Mode": "human"},
        {"entry_point": ENV},
        {"vector_entry_point": ENV},
        {"vector_kwargs": {"shared_memory": True}},
        {"additional_wrappers": [WRAP]},
        {"config": {"other_vehicles_type": f"{MODULE}.Env"}},
        {"config": {"deep": [{"render_mode": "human"}]}},
        {"config": [[{"wrappers": [WRAP]}]]},
        {"map_name": ENV},
        {"map_name": f" {MODULE}:Env\n"},
        {"script": "maps/a.py"},
        [WRAP],
        WRAP,
        None,
        5,
    ],
    ids=json.dumps,
)
def test_arguments_of_a_stranger(env_kwargs: Any, hostile: Any, mark: Path) -> None:
    assert_refused(hostile({"env_kwargs": env_kwargs}))


@pytest.mark.parametrize(
    "changes",
    [
        {"world": ENV},
        {"world": f"{MODULE}:FrozenLake-v1"},
        {"world": [ENV]},
        {"world": {"name": ENV}},
        {"world": None},
        {"world": ["FrozenLake-v1", {}]},
        {"agent": ENV},
        {"agent": [ENV]},
        {"hyper_parameters": [ENV]},
        {"hyper_parameters": {"exploration": ENV}},
        {"seeds": ["../../x"]},
        {"seeds": 3},
        {"steps": "60"},
        {"loop": ENV},
    ],
    ids=json.dumps,
)
def test_names_of_a_stranger(changes: Any, hostile: Any, mark: Path) -> None:
    assert_refused(hostile(changes))


LEAVES = st.sampled_from([WRAP, ENV, "human", "RecordVideo", "FlattenObservation", f"{MODULE}.Wrap", 3, True, None, ""])
KEYS = st.sampled_from(["name", "wrappers", "render_mode", "entry_point", "is_slippery", "map_name", "0", WRAP])
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


@pytest.mark.filterwarnings("ignore::bellmax.EnvWarning")  # a string for True or False
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kwargs=st.dictionaries(KEYS, ANY_JSON, max_size=3), wrappers=ANY_JSON)
def test_no_json_imports(kwargs: dict[str, Any], wrappers: Any, marker: Path) -> None:
    for saved in (kwargs, {**kwargs, "wrappers": wrappers}):
        with contextlib.suppress(bx.CheckpointError, bx.ConfigError):
            find_saved_world(None, None, "FrozenLake-v1", saved)
        assert not marker.exists()
        assert MODULE not in sys.modules


@pytest.mark.parametrize("name", sorted(PURE_WRAPPERS))
def test_wrappers_that_only_compute_exist(name: str) -> None:
    assert hasattr(gym.wrappers, name)


@pytest.mark.parametrize(
    "env_kwargs",
    [
        {},
        {"is_slippery": False, "map_name": "8x8"},
        {"desc": ["SFFF", "FHFH", "FFFH", "HFFG"], "render_mode": "rgb_array"},
        {"wrappers": ["TimeAwareObservation", {"name": "TimeLimit", "max_episode_steps": 7}]},
        {"wrappers": [], "render_mode": None, "max_episode_steps": 30},
        {"size": [3, 4], "speed": 1.5, "nested": {"a": {"b": [1, None, "x y"]}}, "path": "C:/maps", "name": "v1.0"},
    ],
    ids=json.dumps,
)
def test_what_only_computes_comes_from_a_file(env_kwargs: dict[str, Any]) -> None:
    assert list(find_risks(env_kwargs)) == []


def test_what_the_caller_says_again_is_done(hostile: Any, marker: Path, tmp_path: Path) -> None:
    folder = hostile({"env_kwargs": {"render_mode": "human", "is_slippery": False}})
    with pytest.raises(bx.UnsafeFile, match=r"render_mode='human' may open a window; to allow it, pass env_kwargs="):
        bx.evaluate(bx.load(folder).policy(), episodes=1)
    assert bx.evaluate(bx.load(folder).policy(), episodes=1, env_kwargs={"render_mode": "ansi"}).returns.size == 1
    assert bx.resume(folder, env_kwargs={"render_mode": None}, progress=False).scores


def test_what_this_process_said_needs_no_second_time() -> None:
    run = bx.train("gymnasium:FrozenLake-v1", "q-learning", steps=60, final_episodes=1, progress=False)
    assert bx.evaluate(run.policy(), episodes=2).returns.size == 2
