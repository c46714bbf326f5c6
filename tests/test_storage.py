"""Files: the old content or the new one, nothing between; damage is found before anything is used; data, no code."""

import ast
import csv
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from saved import reseal

import bellmax as bx
from bellmax.contracts import Box, Discrete
from bellmax.files import storage
from bellmax.files.storage import fingerprint
from bellmax.training.policy import Policy, load_policy

PACKAGE = Path(bx.__file__).parent
TABLE = Policy("corridor", bx.QLearning(), Discrete(6), 2, {"q": np.arange(12.0).reshape(6, 2)})
LAYER = "head.advantage.layers"
SHAPES = {
    f"{LAYER}.0.weight": (3, 4), f"{LAYER}.0.bias": (3,), f"{LAYER}.1.weight": (2, 3), f"{LAYER}.1.bias": (2,)
}  # fmt: skip
NETWORK = Policy(
    "CartPole-v1",
    bx.DQN(net_arch=(3,), normalization="none"),
    Box((4,)),
    2,
    {k: np.ones(v, np.float32) for k, v in SHAPES.items()},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    bx.train("corridor", "q-learning", steps=2_000, seeds=2, records=4, final_episodes=3, out=folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def break_call(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, code: int) -> None:
    """The nth call of an OS function raises; a full disk takes half of what is written."""
    original, calls = getattr(storage.os, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == nth:
            if name == "write":
                original(args[0], args[1][: len(args[1]) // 2])
            raise OSError(code, os.strerror(code))
        return original(*args, **kwargs)

    monkeypatch.setattr(storage.os, name, call)


CALLS = [("open", 1), ("write", 1), ("fsync", 1), ("replace", 1)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(("call", "nth"), CALLS)
def test_a_failing_write_leaves_the_old_content(
    call: str, nth: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    storage.write(path, "old")
    with monkeypatch.context() as patch:
        break_call(patch, call, nth, code)
        with pytest.raises(bx.ResourceError, match=r"file\.json: .*; its old content is unchanged") as caught:
            storage.write(path, "new and longer")
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["file.json"]


def test_a_failure_after_the_rename_is_told_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    storage.write(path, "old")
    break_call(monkeypatch, "fsync", 2, errno.EIO)
    with pytest.raises(bx.ResourceError, match="it has its new content"):
        storage.write(path, "new")
    assert path.read_text() == "new"
    assert files(tmp_path) == ["file.json"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_a_folder(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_call(monkeypatch, "fsync", 2, code)
    storage.write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_ctrl_c_while_writing_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    storage.write(tmp_path / "file", "old")
    monkeypatch.setattr(storage.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "file", "new")
    assert files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        storage.write(tmp_path / "file", "γ")
        TABLE.save(tmp_path / "p")
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == "γ".encode()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_the_real_thing(tmp_path: Path) -> None:
    with pytest.raises(bx.ResourceError, match="No such file or directory"):
        storage.write(tmp_path / "nowhere" / "file", "new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(bx.ResourceError, match="Is a directory"):
        storage.write(tmp_path / "folder", "new")
    assert files(tmp_path) == ["folder"]


KILLED = """
import os, sys
from pathlib import Path
from bellmax.files import storage

name, nth = sys.argv[2], int(sys.argv[3])
original, calls = getattr(os, name), []

def die(*args):
    calls.append(args)
    if len(calls) == nth:
        os._exit(9)
    return original(*args)

setattr(os, name, die)
storage.write(Path(sys.argv[1]), "new")
"""


@pytest.mark.parametrize(("call", "nth", "content"), [("fsync", 1, "old"), ("replace", 1, "old"), ("fsync", 2, "new")])
def test_a_killed_process_leaves_old_or_new(call: str, nth: int, content: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.write(path, "old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(path), call, str(nth)], check=False)
    assert process.returncode == 9
    assert path.read_text() == content


@pytest.mark.parametrize("policy", [TABLE, NETWORK], ids=["table", "network"])
def test_a_policy_comes_back(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path / "p")
    loaded = load_policy(tmp_path / "p")
    assert (loaded.world, loaded.config, loaded.space, loaded.n_actions) == (
        policy.world,
        policy.config,
        policy.space,
        policy.n_actions,
    )
    assert loaded.arrays.keys() == policy.arrays.keys()
    for name, array in policy.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype


@pytest.mark.parametrize(("nth", "better"), [(1, False), (2, True)])
def test_a_save_that_fails_between_two_files_leaves_a_whole_policy(
    nth: int, better: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TABLE.save(tmp_path / "p")
    new = Policy(TABLE.world, TABLE.config, TABLE.space, 2, {"q": np.full((6, 2), 9.0)})
    break_call(monkeypatch, "replace", nth, errno.ENOSPC)
    with pytest.raises(bx.ResourceError):
        new.save(tmp_path / "p")
    expected = (new if better else TABLE).arrays["q"]
    np.testing.assert_array_equal(load_policy(tmp_path / "p").arrays["q"], expected)


def refused(stem: Path) -> None:
    with pytest.raises(bx.CorruptCheckpoint, match=str(stem)):
        load_policy(stem)


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_cut_policy_files_are_refused(ending: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    path = tmp_path / f"p{ending}"
    whole = path.read_bytes()
    last = len(whole.rstrip())  # without its last newline JSON is still whole
    for size in {0, 1, 7, 8, 9, last - 1, *(last * k // 16 for k in range(1, 16))}:
        path.write_bytes(whole[:size])
        refused(tmp_path / "p")
    path.write_bytes(whole + b"\x00")
    refused(tmp_path / "p")
    path.unlink()
    refused(tmp_path / "p")


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_every_flipped_bit_is_found(ending: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    path = tmp_path / f"p{ending}"
    whole = path.read_bytes()
    card = storage.read_json(tmp_path / "p.json")
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        if ending == ".json":
            try:
                if json.loads(flipped) == card:  # a space became another space
                    continue
            except ValueError:
                pass
        if b'"format": 1' in whole and not flipped.startswith(whole[:14]):  # may now be the mark of a newer format
            with pytest.raises(bx.CheckpointError):
                load_policy(tmp_path / "p")
            continue
        refused(tmp_path / "p")


def test_a_newer_format_is_said_to_be_newer(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    change_card(tmp_path / "p", format=2)
    with pytest.raises(bx.IncompatibleCheckpoint, match="has format 2, and this version reads 1; update bellmax"):
        load_policy(tmp_path / "p")


def change_card(stem: Path, **changes) -> None:
    """Another card, with the hash made good, as by someone who knows how."""
    card = {**storage.read_json(stem.with_suffix(".json")), **changes}
    arrays = load_file(stem.with_suffix(".safetensors"))
    stem.with_suffix(".safetensors").write_bytes(to_bytes(arrays, metadata={"sha256": fingerprint(card, arrays)}))
    stem.with_suffix(".json").write_text(json.dumps(card))


WRONG_CARDS = {
    "agent of the other kind": {"agent": "dqn", "hyper_parameters": {}},
    "unknown hyper-parameter": {"hyper_parameters": {"learnig_rate": 1}},
    "a setting of 300,000 values": {"hyper_parameters": {"bins": [7] * 300_000}},
    "range": {"hyper_parameters": {"gamma": 1.5}},
    "hyper-parameters are no object": {"hyper_parameters": [1]},
    "more states": {"space": {"kind": "Discrete", "n": 7}},
    "fewer states": {"space": {"kind": "Discrete", "n": 5}},
    "states that no memory holds": {"space": {"kind": "Discrete", "n": 10**15}},
    "a box": {"space": {"kind": "Box", "shape": [6], "dtype": "float32"}},
    "an observation that no memory holds": {"space": {"kind": "Box", "shape": [2**53], "dtype": "float32"}},
    "an observation of a negative shape": {"space": {"kind": "Box", "shape": [-2, -3], "dtype": "float32"}},
    "unknown space": {"space": {"kind": "Tuple", "n": 6}},
    "space is a word": {"space": "Discrete"},
    "actions": {"n_actions": 3},
    "actions are a word": {"n_actions": "two"},
    "negative actions": {"n_actions": -2},
    "actions without end": {"n_actions": float("inf")},
}


@pytest.mark.parametrize("case", WRONG_CARDS)
def test_a_card_that_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    change_card(tmp_path / "p")
    assert load_policy(tmp_path / "p").config == TABLE.config
    change_card(tmp_path / "p", **WRONG_CARDS[case])
    refused(tmp_path / "p")


def test_a_long_name_is_not_compared_with_every_name(tmp_path: Path) -> None:
    """Comparing takes seconds where a name has millions of letters."""
    TABLE.save(tmp_path / "p")
    change_card(tmp_path / "p", agent="y" * 2_000_000)
    begin = time.process_time()
    with pytest.raises(bx.IncompatibleCheckpoint, match="which is not registered here"):
        load_policy(tmp_path / "p")
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("steps", [None, "many", [3]])
def test_an_ended_run_is_not_resumed_whatever_its_steps(steps: object, folder: Path) -> None:
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**card, "steps": steps}))
    reseal(folder)
    with pytest.raises(bx.ConfigError, match=r"has ended; there is nothing to resume"):
        bx.resume(folder)


def test_an_agent_that_nobody_has_here_is_somebody_elses(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    change_card(tmp_path / "p", agent="q-lerning")
    with pytest.raises(bx.IncompatibleCheckpoint, match="'q-lerning', which is not registered here: import the module"):
        load_policy(tmp_path / "p")


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '"x"', "[" * 100_000, "\udce4", '{"a": 1', ""])
def test_a_card_of_anything_else_is_refused(text: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    (tmp_path / "p.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(tmp_path / "p")


@pytest.mark.parametrize(
    "changes",
    [
        {"layers.0.weight": np.ones((4, 3), np.float32)},
        {"layers.1.bias": np.ones(3, np.float32)},
        {"layers.2.bias": np.ones(2, np.float32)},
        {"q": np.ones((4, 2))},
    ],
    ids=["shape", "actions", "name", "table"],
)
def test_parameters_that_do_not_fit_are_refused_on_load(changes: dict, tmp_path: Path) -> None:
    Policy("CartPole-v1", NETWORK.config, NETWORK.space, 2, {**NETWORK.arrays, **changes}).save(tmp_path / "p")
    with pytest.raises(bx.CorruptCheckpoint, match="expected"):
        load_policy(tmp_path / "p")
    lost = dict(list(NETWORK.arrays.items())[1:])
    Policy("CartPole-v1", NETWORK.config, NETWORK.space, 2, lost).save(tmp_path / "p")
    refused(tmp_path / "p")


def test_arrays_of_one_run_do_not_pass_for_those_of_another(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    Policy("corridor", bx.QLearning(gamma=0.5), Discrete(6), 2, TABLE.arrays).save(tmp_path / "other")
    shutil.copy(tmp_path / "other.safetensors", tmp_path / "p.safetensors")
    refused(tmp_path / "p")


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    TABLE.save(tmp_path / "p")
    (tmp_path / "p.safetensors").write_bytes(pickle.dumps(Evil()))
    refused(tmp_path / "p")
    assert not marker.exists()


def test_a_history_of_format_1_torn_at_its_last_line_loads_without_it(folder: Path) -> None:
    whole = bx.load(folder).history
    result = storage.read_json(folder / "result.json")
    (folder / "result.json").write_text(json.dumps({**result, "evaluations": []}))
    (folder / "config.json").write_text(json.dumps({**storage.read_json(folder / "config.json"), "format": 1}))
    (folder / "manifest.json").unlink()
    path = folder / "history.csv"
    text = path.read_text()
    last = text.rstrip("\n").rfind("\n") + 1
    for size in range(last, len(text)):  # torn within a number, a line has all its columns and a wrong value
        path.write_text(text[:size])
        history = bx.load(folder).history
        assert history.columns == whole.columns
        for name in whole.columns:
            expected = whole[name].copy()
            expected[1, -1] = np.nan
            np.testing.assert_array_equal(history[name], expected)


def test_the_history_opens_elsewhere(folder: Path) -> None:
    history = bx.load(folder).history
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(history)
    assert [int(row["seed"]) for row in rows] == [0] * len(history) + [1] * len(history)
    read = [float(row["exact/q_error"]) for row in rows]
    assert read == history["exact/q_error"].ravel().tolist()
    table = np.genfromtxt(folder / "history.csv", delimiter=",", names=True, deletechars="")
    np.testing.assert_array_equal(table["exact/q_error"], read)
    np.testing.assert_array_equal(table["step"], np.tile(history["step"], 2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"agent": "q-learning"}'),
        ("config.json", None),
        ("history.csv", ""),
        ("history.csv", "seed,st"),
        ("history.csv", "seed,step,x\n0,1,many\n"),
        ("history.csv", None),
        ("result.json", '{"scores": [1'),
        ("result.json", "{}"),
        ("result.json", '{"scores": ["high"]}'),
        ("result.json", '{"scores": 3}'),
        ("evaluations.safetensors", None),
        ("result.json", "[]"),
        ("policies/seed-1-best.json", None),
        ("policies/seed-0-final.safetensors", None),
        ("policies/seed-0-final.safetensors", ""),
    ],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_damaged_run_is_refused_by_name(name: str, content: str | None, sealed: bool, folder: Path) -> None:
    path = folder / name
    path.unlink() if content is None else path.write_text(content)
    if sealed:  # by someone who knows how
        reseal(folder)
    if sealed and name == "evaluations.safetensors":
        assert bx.load(folder).evaluations == []
        return
    missing = (name, content, sealed) == ("config.json", None, True)
    with pytest.raises(bx.ConfigError if missing else bx.CorruptCheckpoint, match=str(folder)) as caught:
        bx.load(folder)
    if not sealed:
        assert name.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_did_not_end_and_stray_files(folder: Path) -> None:
    (folder / "result.json").unlink()
    reseal(folder)
    (folder / "policies" / ".seed-0-final.json.x1y2").write_text("half")
    (folder / ".DS_Store").write_bytes(b"\x00")
    run = bx.load(folder)
    assert run.scores == []
    assert run.policy(1).table().shape == (6, 2)


def test_files_are_strict_json(finished: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    paths = list(finished.rglob("*.json"))
    assert len(paths) == 8
    for path in paths:
        json.loads(path.read_text(), parse_constant=refuse)


def test_finite() -> None:
    value = {"a": [float("nan"), 1.0, (float("inf"), True)], "b": "nan", "c": {"d": np.float64("nan")}}
    assert storage.finite(value) == {"a": [None, 1.0, [None, True]], "b": "nan", "c": {"d": None}}


FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml", "zipfile"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {"extractall", "unsafe_load", "find_class"}
LOADERS = {"np", "numpy", "jnp", "yaml", "torch", "pickle", "joblib"}


def risks(source: str) -> list[str]:
    """What in a program could run code that comes in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = node.func
            if isinstance(name, ast.Name) and name.id in FORBIDDEN_CALLS:
                found.append(name.id)
            elif isinstance(name, ast.Attribute):
                home = name.value.id if isinstance(name.value, ast.Name) else ""
                if name.attr in FORBIDDEN_METHODS or (name.attr == "load" and home in LOADERS):
                    found.append(f"{home}.{name.attr}")
            found += [k.arg for k in node.keywords if k.arg == "allow_pickle"]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "import a, joblib.memory",
        "eval('1')",
        "exec(x)",
        "np.load(f)",
        "yaml.load(f)",
        "z.extractall()",
        "f(allow_pickle=True)",
    ],
)
def test_the_scan_finds(source: str) -> None:
    assert len(risks(source)) == 1


def test_no_code_path_can_run_a_file() -> None:
    """Three files unpickle, and none from a run's folder.

    Worker processes get their environments through pipes, from this process. Compiled kernels are machine code anyway:
    they lie in the user's own cache, as Numba's and Python's do, and only that folder is opened.
    """
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 40
    found = {str(path.relative_to(PACKAGE)): found for path in paths if (found := risks(path.read_text()))}
    pipes = ("envs/worker_process.py", "envs/workers.py")
    assert found == {"compiling.py": ["pickle"], **{file: ["pickle", "cloudpickle"] for file in pipes}}
    compiling = ast.parse((PACKAGE / "compiling.py").read_text())
    imported = {each.module for each in ast.walk(compiling) if isinstance(each, ast.ImportFrom)}
    ours = {name for name in imported if name and name.startswith("bellmax")}
    assert ours == {"bellmax.caching", "bellmax.identity", "bellmax.stderr"}  # it knows no run, policy or path of one
    for file in pipes:
        tree = ast.parse((PACKAGE / file).read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not {"open", "Path", "pickle.load", "cloudpickle.load"} & called


def test_arrays_of_any_strides_are_saved_as_they_are(tmp_path: Path) -> None:
    rows = np.arange(24.0, dtype=np.float32).reshape(6, 4)
    strided = {
        "transposed": rows.T,
        "fortran": np.asfortranarray(rows),
        "reversed": rows[::-1],
        "every other": rows[:, ::2],
    }
    (tmp_path / "a.safetensors").write_bytes(storage.to_bytes(strided))
    loaded = load_file(tmp_path / "a.safetensors")
    for name, array in strided.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)


def test_files_are_written_through_storage_only() -> None:
    """What knows of strides is in one place."""
    users = [p.name for p in PACKAGE.rglob("*.py") if "safetensors.numpy import save" in p.read_text(encoding="utf-8")]
    assert users == ["storage.py"]
