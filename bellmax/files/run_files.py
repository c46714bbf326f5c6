"""Plain Python. The files in a run's folder.

config.json           environment, agent, hyperparameters, steps, seeds, loop
environment.json      versions, platform, start time
history.csv           one line per seed and record
episodes.safetensors  returns and lengths of the first training episodes, seed after seed, and counts [seeds]
visits.safetensors    visits [T, seeds, S, A] of a table at each record, where these are at most 10^7 numbers
policies/             seed-0-final.safetensors and .json, seed-0-best..., for every seed; for more than a hundred
                      seeds all-final.safetensors and .json, all-best...
experience/           seed-0.safetensors, ..., the replay buffer of every seed at the end, with `keep_experience`
result.json           scores, returns, summary; written last: a run without it has not ended
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint, FloatArray, IntArray
from bellmax.files import storage
from bellmax.files.policy_files import PolicyParts, check_named, read_files, read_together, save_policy, save_together
from bellmax.files.storage import fingerprint
from bellmax.version import __version__

PACKAGES = ("numpy", "scipy", "numba", "jax", "jaxlib", "equinox", "optax", "gymnasium", "safetensors")

SINGLE_FILES = 100  # seeds with files of their own: each file takes milliseconds to sync


def make_run_folder(folder: Path, card: Mapping[str, Any], history: str) -> None:
    """Write what is known before the first step to a folder that exists and is held.

    Raises:
        ConfigError: it cannot be written to.
    """
    storage.check_writable(folder)
    storage.inner_folder(folder / "policies")
    write_card(folder, card)
    storage.write_json(folder / "environment.json", environment())
    storage.write(folder / "history.csv", history)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write config.json, which `read_card` reads."""
    storage.write_json(folder / "config.json", {"format": storage.FORMAT, **card})


def read_card(folder: Path) -> dict[str, Any]:
    """Read config.json; only its format is checked.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint, IncompatibleCheckpoint: this version cannot read it.
    """
    path = folder / "config.json"
    if not path.is_file():
        stem = folder.with_suffix("") if folder.suffix in (".safetensors", ".json") else folder
        if (folder.parent / f"{stem.name}.safetensors").is_file():
            raise ConfigError(
                f"{folder} is a policy, not the folder of a run; use bellmax.load_policy({str(folder)!r})"
            )
        raise ConfigError(f"no run in {folder}: it has no config.json; pass the folder that train wrote (out=...)")
    return storage.check_format(storage.read_json(path), path)


def environment() -> dict[str, Any]:
    """Return versions, machine and start time, for environment.json."""
    return {
        "bellmax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_policies(
    folder: Path, which: str, seeds: Sequence[int], parts: Sequence[tuple[Mapping[str, Any], ArrayDict]]
) -> None:
    """Write the (card, arrays) of each seed's policy: files for each seed, or for all where there are many."""
    place = storage.inner_folder(folder / "policies")
    if len(seeds) > SINGLE_FILES:
        save_together(place / f"all-{which}", parts[0][0], [arrays for _, arrays in parts])
        return
    for seed, (card, arrays) in zip(seeds, parts, strict=True):
        save_policy(place / f"seed-{seed}-{which}", card, arrays)


def read_policies(folder: Path, which: str, seeds: Sequence[int], *, expected: bool) -> list[PolicyParts]:
    """Read the policies that `write_policies` wrote; [] if there are none and none are `expected`.

    Raises:
        CorruptCheckpoint: a file is missing or damaged.
    """
    whole, first = (folder / "policies" / f"{name}-{which}" for name in ("all", f"seed-{seeds[0]}"))
    if whole.with_suffix(".json").exists():
        return read_together(whole, len(seeds))
    if expected or first.with_suffix(".json").exists():
        return [read_files(folder / "policies" / f"seed-{seed}-{which}") for seed in seeds]
    return []


def write_arrays(path: Path, arrays: ArrayDict) -> None:
    """Write a safetensors file with a hash of its arrays; see `storage.write`."""
    storage.write(path, storage.to_bytes(arrays, metadata={"sha256": fingerprint({}, arrays)}))


def read_arrays(path: Path) -> ArrayDict | None:
    """Read a file that `write_arrays` wrote; None if there is no such file.

    Raises:
        CorruptCheckpoint: its content is not what was saved.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            recorded = (file.metadata() or {}).get("sha256")
    except (*storage.MALFORMED, OSError, SafetensorError) as error:
        raise CorruptCheckpoint(f"cannot read {path}: {error}") from error
    if fingerprint({}, arrays) != recorded:
        raise CorruptCheckpoint(f"{path} is not what was saved; its SHA-256 differs")
    return arrays


def write_episodes(folder: Path, episodes: Sequence[tuple[FloatArray, IntArray]]) -> None:
    """Write the (returns, lengths) of each seed's first episodes."""
    returns, lengths = (np.concatenate(column) for column in zip(*episodes, strict=True))
    counts = np.array([returns.size for returns, _ in episodes], np.int64)
    write_arrays(folder / "episodes.safetensors", {"returns": returns, "lengths": lengths, "counts": counts})


def read_episodes(folder: Path, n_seeds: int) -> list[tuple[FloatArray, IntArray]]:
    """Read the episodes that `write_episodes` wrote; [] from a run of an older version.

    Raises:
        CorruptCheckpoint: they are damaged, or are of another number of seeds.
    """
    path = folder / "episodes.safetensors"
    kept = read_arrays(path)
    if kept is None:
        return []
    check_episodes(kept, path)
    ends = np.cumsum(kept["counts"])[:-1]
    episodes = list(zip(np.split(kept["returns"], ends), np.split(kept["lengths"], ends), strict=True))
    if len(episodes) not in (0, n_seeds):
        raise CorruptCheckpoint(f"the episodes or visits in {folder} are not those of {n_seeds} seeds")
    return episodes


def write_visits(folder: Path, visits: IntArray) -> None:
    """Write how often each pair was updated until each record, [T, seeds, S, A]."""
    write_arrays(folder / "visits.safetensors", {"visits": visits})


def read_visits(folder: Path, n_seeds: int) -> IntArray | None:
    """Read the counts that `write_visits` wrote; None if there are none.

    Raises:
        CorruptCheckpoint: they are damaged, or are of another number of seeds.
    """
    counts = read_arrays(folder / "visits.safetensors")
    if counts is None:
        return None
    visits: IntArray = counts["visits"]
    if not is_count(visits, (4, 1, n_seeds)):
        raise CorruptCheckpoint(f"the episodes or visits in {folder} are not those of {n_seeds} seeds")
    return visits


def check_card(card: Mapping[str, Any]) -> None:
    """Check the types of the entries of a config.json.

    Raises:
        TypeError: one is wrong.
    """
    check_named(card)
    steps, seeds, loop = card["steps"], card["seeds"], card["loop"]
    if type(steps) is not int or steps < 1:
        raise TypeError(f"steps={steps!r} is not a positive integer")
    if type(seeds) is not list or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise TypeError(f"seeds={seeds!r} is not a list of integers from 0")
    if loop not in ("compiled", "host"):
        raise TypeError(f"loop={loop!r} is neither compiled nor host")


def is_count(array: np.ndarray, shape: tuple[int, int, int]) -> bool:
    """Return whether an array holds counts; `shape` is (its number of axes, one of them, the length of that)."""
    axes, axis, length = shape
    counts = array.dtype.kind == "i" and array.ndim == axes and array.shape[axis] == length
    return bool(counts and (array >= 0).all())


def check_episodes(kept: ArrayDict, path: Path) -> None:
    """Check that the returns and lengths of episodes are as many as their counts say.

    Raises:
        CorruptCheckpoint: they are not.
    """
    returns, lengths, counts = (kept[name] for name in ("returns", "lengths", "counts"))
    whole = is_count(counts, (1, 0, len(counts))) and is_count(lengths, (1, 0, counts.sum()))
    if not whole or returns.shape != lengths.shape or returns.dtype.kind != "f":
        raise CorruptCheckpoint(f"{path}: returns, lengths and counts do not belong together")
