"""Change saved files as chance, a full disk, a careless editor or a stranger would; each change follows from a seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.files import manifest
from bellmax.files.storage import fingerprint, to_bytes
from bellmax.files.tensors import DTYPES, parse

Rng = np.random.Generator
DEEP, MOST = "[" * 5_000 + "]" * 5_000, 2_000_000
EVIL = "evil_module"  # does not exist; to import it would be found
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3.5, 10**6, 10**9, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**30, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", "x", "9" * 40, "1e9", "\x1b[31m", "\0", "é\u202e", "<script>", "[]",
    f"{EVIL}:Env-v0", f"{EVIL}:Thing", f"{EVIL}.Thing", f"{EVIL}/Env-v0", "../../etc/passwd", "/etc/passwd",
    "os:system", "this:Env-v0", "CartPole-v1", "corridor", "dqn", "sarsa", "probe:delay", "gymnax:Breakout-MinAtar",
    "float64", "Discrete", "human", "__class__", "a" * 100_000, [], {}, [[]], [0] * 1_000, [1, 2], ["x"], {"": {}},
    [10**12], [2**40, 2**40], list(range(20_000)), {str(i): i for i in range(5_000)}, {"name": "RecordVideo"},
)  # fmt: skip
BIG = (
    "1" * 5_000, "1e999", "-1e999", DEEP, '"' + "y" * MOST + '"', '{"a":1,"a":2}', "[" + "0," * 300_000 + "0]", "NaN",
)  # fmt: skip

ENTRIES: dict[str, tuple[Any, ...]] = {
    "dtype": (*DTYPES, "BF16", "O", "F8_E4M3", "C64"),
    "shape": ([], [0], [-1], [2**40], [2**33, 2**33], [1] * 40, [1.0]),
    "data_offsets": ([0, 0], [0, 2**40], [-8, 8], [8, 0], [0, 8, 16], [0.0, 8.0]),
}


def pick(rng: Rng, things: Any) -> Any:
    """One of several things."""
    return things[int(rng.integers(len(things)))]


def flip(data: bytes, rng: Rng) -> bytes:
    """One to eight bits are others."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if changed else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """The end is missing."""
    return data[: int(rng.integers(len(data) + 1))]


def hole(data: bytes, rng: Rng) -> bytes:
    """A part is missing, there twice, or of zeros."""
    begin, end = sorted(rng.integers(len(data) + 1, size=2).tolist())
    middle = pick(rng, (b"", data[begin:end] * 2, b"\0" * (end - begin), b"\xff" * (end - begin)))
    return data[:begin] + middle + data[end:]


def insert(data: bytes, rng: Rng) -> bytes:
    """Random bytes, or words of other files, stand in between."""
    where = int(rng.integers(len(data) + 1))
    words = (rng.bytes(int(rng.integers(1, 200))), b"PK\x03\x04", b"\x80\x04\x95", b"\r\n", b"0" * 5_000, b"{", b'"')
    return data[:where] + pick(rng, words) + data[where:]


def other(data: bytes, rng: Rng) -> bytes:
    """Something else altogether."""
    return pick(rng, (b"", b"{}", b"[]", b"null", b"\0" * 64, rng.bytes(500), b"\x80\x04K\x01.", data[::-1]))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def in_json(text: str, rng: Rng) -> str:
    """One value, name or entry of a JSON text is another; where it is no JSON, it stays as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    paths = places(value)[1:]
    if not paths:
        return json.dumps(pick(rng, VALUES))
    *above, last = pick(rng, paths[:500] if rng.random() < 0.5 else paths)
    node = value
    for key in above:
        node = node[key]
    how = int(rng.integers(7))
    if how == 0:
        del node[last]
    elif how == 1 and isinstance(node, dict):
        node[str(pick(rng, VALUES))[:200]] = node.pop(last)
    elif how == 2 and isinstance(node, dict):
        node[pick(rng, ("extra", "parts", "entry_point", "wrappers", "visits", last + "x"))] = pick(rng, VALUES)
    elif how == 3:
        node[last] = _get(value, pick(rng, paths))
    elif how == 4:
        node[last] = "MARK"
        return json.dumps(value).replace('"MARK"', pick(rng, BIG), 1)
    else:
        node[last] = pick(rng, VALUES)
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):  # it holds itself
        return text


def _get(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return json.loads(json.dumps(value))


def in_csv(text: str, rng: Rng) -> str:
    """A cell, a line or a column of a table is another."""
    rows = [line.split(",") for line in text.splitlines()] or [[""]]
    row = pick(rng, rows)
    how = int(rng.integers(5))
    if how == 0:
        row[int(rng.integers(len(row)))] = str(pick(rng, VALUES))
    elif how == 1:
        rows.remove(row)
    elif how == 2:
        rows.append(list(row) * int(rng.integers(1, 3)))
    elif how == 3:
        for each in rows:
            each.append(str(pick(rng, (0, "x", "1e999", -1))))
    else:
        row[int(rng.integers(len(row)))] = pick(rng, ("9" * 5_000, "nan", "-1", "1_000", " 3", '"', "\0", "1e18"))
    return "\n".join(map(",".join, rows)) + "\n"


def in_header(data: bytes, rng: Rng) -> bytes:
    """The header of a safetensors file says something else; mostly its length is right."""
    length = int.from_bytes(data[:8], "little")
    if 8 + length > len(data):
        return flip(data, rng)
    text = data[8 : 8 + length].decode("utf-8", "replace")
    if rng.random() < 0.5:
        text = in_json(text, rng)
    else:
        try:
            card = json.loads(text)
            entry = card[pick(rng, [name for name in card if name != "__metadata__"])]
            kind = int(rng.integers(4))
            if kind < 3:
                name = ("dtype", "shape", "data_offsets")[kind]
                entry[name] = pick(rng, (*ENTRIES[name], entry["shape"][::-1]))
            else:
                card[pick(rng, ("q", "x" * 2_000, "state.q", "visits", ""))] = dict(entry)
            text = json.dumps(card)
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
    new = text.encode("utf-8", "surrogatepass")
    size = len(new) if rng.random() < 0.9 else int(rng.integers(2**63))
    return size.to_bytes(8, "little") + new + data[8 + length :]


def in_arrays(data: bytes, rng: Rng) -> bytes:
    """Numbers of an array are others, or it has another type or shape, in a sound file."""
    arrays, about = parse(bytearray(data), "file")
    if not arrays:
        return data
    name = pick(rng, sorted(arrays))
    array = np.array(arrays[name])
    how = int(rng.integers(6))
    if how <= 2 and array.size:
        numbers = (np.nan, np.inf, -np.inf, -1, 0, 1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 1e38, 255)
        with np.errstate(all="ignore"):
            for _ in range(int(rng.integers(1, 4))):
                array.flat[int(rng.integers(array.size))] = np.array(pick(rng, numbers)).astype(array.dtype)
    elif how == 3:
        with np.errstate(all="ignore"):
            array = array.astype(pick(rng, (np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_)))
    elif how == 4:
        shapes = (array[:0], array[None], array.ravel(), np.zeros((), array.dtype), np.zeros((0, 3), array.dtype))
        array = pick(rng, shapes) if array.ndim else array[None]
    else:
        arrays[pick(rng, ("x", "visits", "low", "state.q", "obs.0"))] = array
        arrays.pop(name if rng.random() < 0.5 else "", None)
        return to_bytes(arrays, about)
    return to_bytes({**arrays, name: array}, about)


def seal(folder: Path) -> None:
    """Make all hashes fit again, as by someone who knows how."""
    for path in sorted(folder.rglob("*.safetensors")):
        card = path.with_suffix(".json")
        if path.is_symlink() or card.is_symlink() or not path.is_file():
            continue
        try:
            arrays, about = parse(bytearray(path.read_bytes()), "file")
            if "sha256" in about:
                words = json.loads(card.read_text()) if card.is_file() else {}
                about["sha256"] = fingerprint(words, arrays)
                path.write_bytes(to_bytes(arrays, about))
        except Exception:  # noqa: S112 - it cannot be sealed
            continue
    for path in (path for path in folder.rglob(manifest.NAME) if not path.is_symlink()):
        try:
            card = json.loads(path.read_text())
            for name, entry in card["files"].items():
                if (path.parent / name).is_file() and not (path.parent / name).is_symlink():
                    entry.update(manifest.entry_of((path.parent / name).read_bytes()))
            card.pop("sha256", None)
            path.write_text(json.dumps({**card, "sha256": manifest._hash(card)}))
        except Exception:  # noqa: S112
            continue


BYTES: tuple[Callable[[bytes, Rng], bytes], ...] = (flip, cut, hole, insert, other)


def mutate_file(path: Path, rng: Rng) -> str:
    """Change one file, and return how."""
    data = path.read_bytes()
    smart = rng.random() < 0.7
    if smart and path.suffix == ".json":
        path.write_text(in_json(data.decode("utf-8", "replace"), rng), encoding="utf-8", errors="replace")
        return "in_json"
    if smart and path.suffix == ".csv":
        path.write_text(in_csv(data.decode("utf-8", "replace"), rng), encoding="utf-8", errors="replace")
        return "in_csv"
    change = pick(rng, (in_header, in_arrays) if smart and path.suffix == ".safetensors" else BYTES)
    try:
        path.write_bytes(change(data, rng))
    except Exception:  # it was damaged before
        path.write_bytes(flip(data, rng))
    return str(change.__name__)


def mutate(folder: Path, others: list[Path], rng: Rng) -> tuple[list[str], bool]:
    """Change one to three files below `folder`; returns how, and whether all hashes fit again."""
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
        if not paths:
            break
        paths += 3 * [path for path in paths if path.parent.name == "checkpoint" or path.name == "config.json"]
        path, how = pick(rng, paths), rng.random()
        name = str(path.relative_to(folder))
        if how < 0.85:
            done.append(f"{mutate_file(path, rng)} {name}")
        elif how < 0.89:
            path.unlink()
            done.append(f"removed {name}")
        elif how < 0.96:
            shutil.copyfile(source := pick(rng, [*others, *paths]), path.with_name("moved"))
            path.with_name("moved").replace(path)
            done.append(f"{source.name} in the place of {name}")
        else:
            path.unlink()
            target = pick(rng, ("", "/dev/zero", path.name, "config.json"))
            path.symlink_to(target) if target else path.mkdir()
            done.append(f"a folder or link in the place of {name}")
    sealed = bool(rng.random() < 0.6)
    if sealed:
        seal(folder)
    return done, sealed
