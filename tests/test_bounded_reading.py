"""A file of anybody is refused in a second and with little memory, whatever is in it."""

import json
import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from saved import reseal

import bellmax as bx
from bellmax.contracts import Discrete
from bellmax.files import storage, tensors
from bellmax.training.history import History
from bellmax.training.policy import Policy

TABLE = Policy("corridor", bx.QLearning(), Discrete(6), 2, {"q": np.arange(12.0).reshape(6, 2)})
LIMIT = 200 << 20  # bytes


def within_limits(call: Callable[[], object]) -> str:
    """The message of the CheckpointError that a call raises within a second and 200 MB."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(bx.CheckpointError) as caught:
            call()
        seconds, memory = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 5.0  # tracing makes it about five times slower
    assert memory < LIMIT
    assert len(str(caught.value)) < 2_000
    return str(caught.value)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def sparse(path: Path, size: int = 10 << 30) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def floats(shape: list[int], end: int) -> dict[str, object]:
    return {"dtype": "F64", "shape": shape, "data_offsets": [0, end]}


HOSTILE: dict[str, Callable[[Path], object]] = {
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "10 GB of nothing": sparse,
    "shape of 10^12": lambda path: path.write_bytes(safetensors({"q": floats([10**12], 8 * 10**12)})),
    "shape that overflows": lambda path: path.write_bytes(safetensors({"q": floats([2**33, 2**33], 0)})),
    "negative shape": lambda path: path.write_bytes(safetensors({"q": floats([-1, -12], 96)}, b"0" * 96)),
    "gap": lambda path: path.write_bytes(safetensors({"q": floats([1], 8)}, b"0" * 96)),
    "overlap": lambda path: path.write_bytes(
        safetensors({"q": floats([6, 2], 96), "r": floats([6, 2], 96)}, b"0" * 96)
    ),
    "objects": lambda path: path.write_bytes(safetensors({"q": {**floats([1], 8), "dtype": "O"}}, b"0" * 8)),
    "many axes": lambda path: path.write_bytes(safetensors({"q": floats([1] * 100, 8)}, b"0" * 8)),
    "long name": lambda path: path.write_bytes(safetensors({"q" * 10_000: floats([1], 8)}, b"0" * 8)),
    "100,000 arrays": lambda path: path.write_bytes(safetensors({f"q{i}": floats([0], 0) for i in range(100_000)})),
    "header of 90 MB": lambda path: path.write_bytes(safetensors(b"[" + b"0," * (45 << 20) + b"0]")),
    "header of lists": lambda path: path.write_bytes(safetensors(b"[" + b"[]," * (5 << 20) + b"0]")),
    "deep header": lambda path: path.write_bytes(safetensors(b"[" * 2_000 + b"]" * 2_000)),
    "header as long as the file": lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"),
    "empty": lambda path: path.write_bytes(b""),
}
JSONS: dict[str, Callable[[Path], object]] = {
    **{name: HOSTILE[name] for name in ("pipe", "device", "folder", "10 GB of nothing", "empty")},
    "90 MB": lambda path: path.write_bytes(b"[" + b"0," * (45 << 20) + b"0]"),
    "lists": lambda path: path.write_bytes(b"[" + b"[]," * (9 << 20) + b"0]"),
    "numbers": lambda path: path.write_bytes(b"[" + b"0.5," * (7 << 20) + b"0]"),
    "2,000 levels": lambda path: path.write_bytes(b"[" * 2_000 + b"]" * 2_000),
    "100 levels": lambda path: path.write_bytes(b"[" * 100 + b"]" * 100),
    "a long number": lambda path: path.write_bytes(b"9" * (1 << 20)),
}


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    write(path)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_arrays(case: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    replaced(tmp_path / "p.safetensors", HOSTILE[case])
    assert "p.safetensors" in within_limits(lambda: bx.load_policy(tmp_path / "p"))
    within_limits(lambda: bx.Dataset.load(tmp_path / "p.safetensors"))


@pytest.mark.parametrize("case", JSONS)
def test_hostile_json(case: str, tmp_path: Path) -> None:
    TABLE.save(tmp_path / "p")
    replaced(tmp_path / "p.json", JSONS[case])
    assert "p.json" in within_limits(lambda: bx.load_policy(tmp_path / "p"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    bx.train("corridor", "q-learning", steps=200, records=2, final_episodes=3, out=folder)
    return folder


@pytest.mark.parametrize("case", JSONS)
@pytest.mark.parametrize("name", ["manifest.json", "config.json", "result.json"])
def test_hostile_json_in_a_run(name: str, case: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(finished, folder)
    replaced(folder / name, JSONS[case])
    if name != "manifest.json" and (folder / name).is_file() and case != "10 GB of nothing":
        reseal(folder)
    within_limits(lambda: bx.load(folder))


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_arrays_in_a_run(case: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(finished, folder)
    for name in ("visits.safetensors", "policies/seed-0-best.safetensors"):
        replaced(folder / name, HOSTILE[case])
        if (folder / name).is_file() and not (folder / name).is_symlink() and case != "10 GB of nothing":
            reseal(folder)
    within_limits(lambda: bx.load(folder))


def copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_a_sparse_file_that_the_manifest_names_is_looked_at_before_it_is_read(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(finished, folder)
    path = folder / "visits.safetensors"
    sparse(path)
    card = json.loads((folder / "manifest.json").read_text())
    card["files"]["visits.safetensors"]["size"] = 10 << 30
    del card["sha256"]
    from bellmax.files import manifest

    (folder / "manifest.json").write_text(json.dumps({**card, "sha256": manifest._hash(card)}))
    assert "visits.safetensors" in within_limits(lambda: bx.load(folder))


HISTORIES = {
    "20,000 columns": "seed,step," + ",".join(f"c{i}" for i in range(20_000)) + "\n0,1" + ",1" * 20_000 + "\n",
    "a million seeds": "seed,step,x\n0,1,1\n",
    "steps without seeds": "seed,step,x\n" + "".join(f"0,{i},1\n" for i in range(50_000)),
    "a long cell": "seed,step,x\n0,1," + "1" * 500_000 + "\n",
    "long names": "seed,step," + "x" * 5_000 + "\n0,1,1\n",
}


@pytest.mark.parametrize("case", HISTORIES)
def test_hostile_histories(case: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(finished, folder)
    (folder / "history.csv").write_text(HISTORIES[case])
    if case != "20,000 columns":
        card = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**card, "seeds": list(range(1_000_000))}))
    reseal(folder)
    within_limits(lambda: bx.load(folder))


def test_a_history_is_read_back_whole() -> None:
    history = History([3, 1])
    for step in (10, 20):
        history.append(step, {"a": [1.5, float("nan")], "b/c": float("-inf")})
    assert History.from_csv(history.to_csv(), [3, 1]).to_csv() == history.to_csv()


def test_in_little_memory(tmp_path: Path) -> None:
    """As tracemalloc does not see it: the address space itself is limited."""
    TABLE.save(tmp_path / "p")
    code = """
    import resource, sys, time
    from pathlib import Path
    import bellmax as bx
    from test_bounded_reading import HOSTILE, JSONS, replaced

    folder = Path(sys.argv[1])
    bx.load_policy(folder / "p")
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
    good = (folder / "p.json").read_bytes()
    for ending, cases in ((".safetensors", HOSTILE), (".json", JSONS)):
        for case, write in cases.items():
            if "header of" in case or case in ("90 MB", "lists", "numbers"):
                continue  # they are large themselves: written in this process
            path = folder / f"p{ending}"
            if path.is_dir():
                path.rmdir()
            replaced(path, write)
            begin = time.process_time()
            try:
                bx.load_policy(folder / "p")
            except bx.CheckpointError:
                assert time.process_time() - begin < 1, case
            else:
                raise AssertionError(case)
        if (folder / "p.safetensors").is_dir():
            (folder / "p.safetensors").rmdir()
    """
    here = str(Path(__file__).parent)
    environ = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, timeout=120, env=environ)


def test_what_fits_is_read(tmp_path: Path) -> None:
    arrays = {
        "empty": np.zeros((0, 3), np.int16), "scalar": np.float64(2.5), "flags": np.array([True, False]),
        "odd": np.arange(3, dtype=np.uint8), "big": np.arange(12.0).reshape(3, 4), "half": np.ones(5, np.float16),
    }  # fmt: skip
    (tmp_path / "a.safetensors").write_bytes(storage.to_bytes(arrays, {"about": "words"}))
    read, about = tensors.read_tensors(tmp_path / "a.safetensors")
    assert about == {"about": "words"}
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].flags.aligned
        assert read[name].flags.writeable


def test_a_policy_may_lie_behind_a_link(tmp_path: Path) -> None:
    """As in the cache of a hub; the files of a run may not."""
    TABLE.save(tmp_path / "p")
    for ending in (".json", ".safetensors"):
        (tmp_path / f"q{ending}").symlink_to(tmp_path / f"p{ending}")
    np.testing.assert_array_equal(bx.load_policy(tmp_path / "q").table(), TABLE.table())
