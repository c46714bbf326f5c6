"""Plain Python. The folder of a run: what was asked, on what it ran, the history, the policies, the result.

config.json           world, agent, hyper-parameters, steps, seeds, loop
environment.json      versions, platform, when
history.csv           one line per seed and record
episodes.safetensors  returns and lengths of the first training episodes, seed after seed, and counts [seeds]
visits.safetensors    visits [T, seeds, S, A] of a table at each record, where they are not too many
policies/             seed-0-final.safetensors and .json, seed-0-best..., for every seed; of more than a hundred
                      seeds all-final.safetensors and .json, all-best...
experience/           seed-0.safetensors, ..., the replay memory of every seed at the end, if it was to be kept
result.json           scores, returns, summary; written last: a run without it did not end
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
from safetensors.numpy import save as to_bytes

from bellmax.contracts import ConfigError, CorruptCheckpoint, FloatArray, IntArray
from bellmax.files import storage
from bellmax.files.policy_files import PolicyParts, check_named, read_files, read_together, save_policy, save_together
from bellmax.files.storage import fingerprint
from bellmax.version import __version__

PACKAGES = ("numpy", "scipy", "numba", "jax", "jaxlib", "equinox", "optax", "gymnasium", "safetensors")

SINGLE_FILES = 100  # seeds with files of their own; a file takes milliseconds, most of them until it is safely on disk


def make_run_folder(folder: Path, card: Mapping[str, Any], history: str) -> None:
    """Make the folder and write what is known before the first step.

    Raises:
        ConfigError: it exists already or cannot be written.
    """
    storage.make_folder(folder)
    try:
        (folder / "policies").mkdir()
    except OSError as error:  # another run that started together with this one has it
        raise ConfigError(f"cannot write to output folder {folder}: {error.strerror}; name another one") from error
    write_card(folder, card)
    storage.write_json(folder / "environment.json", environment())
    storage.write(folder / "history.csv", history)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """What was asked for, as `read_card` reads it back."""
    storage.write_json(folder / "config.json", {"format": storage.FORMAT, **card})


def read_card(folder: Path) -> dict[str, Any]:
    """What was asked for; not yet checked but for its format.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint, IncompatibleCheckpoint: it is not what this version reads.
    """
    path = folder / "config.json"
    if not path.is_file():
        stem = folder.with_suffix("") if folder.suffix in (".safetensors", ".json") else folder
        if (folder.parent / f"{stem.name}.safetensors").is_file():
            raise ConfigError(
                f"{folder} is a policy, not the folder of a run; use bellmax.load_policy({str(folder)!r})"
            )
        raise ConfigError(f"no run in {folder}: it has no config.json; give the folder that train wrote (out=...)")
    card: dict[str, Any] = storage.read_json(path)
    storage.check_format(card, path)
    return card


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "bellmax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_policies(folder: Path, which: str, seeds: Sequence[int], parts: Sequence[tuple[Any, Any]]) -> None:
    """Write the (card, arrays) of each seed's policy: a file for each, or one for all where they are many."""
    place = storage.inner_folder(folder / "policies")
    if len(seeds) > SINGLE_FILES:
        save_together(place / f"all-{which}", parts[0][0], [arrays for _, arrays in parts])
        return
    for seed, (card, arrays) in zip(seeds, parts, strict=True):
        save_policy(place / f"seed-{seed}-{which}", card, arrays)


def read_policies(folder: Path, which: str, seeds: Sequence[int], *, expected: bool) -> list[PolicyParts]:
    """The policies that `write_policies` wrote; none where there are none and none are `expected`.

    Raises:
        CorruptCheckpoint: a file is missing or damaged.
    """
    whole, first = (folder / "policies" / f"{name}-{which}" for name in ("all", f"seed-{seeds[0]}"))
    if whole.with_suffix(".json").exists():
        return read_together(whole, len(seeds))
    if expected or first.with_suffix(".json").exists():
        return [read_files(folder / "policies" / f"seed-{seed}-{which}") for seed in seeds]
    return []


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """A safetensors file with a hash of its arrays; see `storage.write`."""
    storage.write(path, to_bytes(arrays, metadata={"sha256": fingerprint({}, arrays)}))


def read_arrays(path: Path) -> dict[str, Any] | None:
    """What `write_arrays` wrote; None where there is no such file.

    Raises:
        CorruptCheckpoint: it is not what was written.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
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
    """What `write_episodes` wrote; an older version wrote none.

    Raises:
        CorruptCheckpoint: they are damaged, or are not of so many seeds.
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
    """Write how often each pair had been updated at each record, [T, seeds, S, A]."""
    write_arrays(folder / "visits.safetensors", {"visits": visits})


def read_visits(folder: Path, n_seeds: int) -> IntArray | None:
    """What `write_visits` wrote; None where nothing was.

    Raises:
        CorruptCheckpoint: they are damaged, or are not of so many seeds.
    """
    counts = read_arrays(folder / "visits.safetensors")
    if counts is None:
        return None
    visits: IntArray = counts["visits"]
    if not is_count(visits, (4, 1, n_seeds)):
        raise CorruptCheckpoint(f"the episodes or visits in {folder} are not those of {n_seeds} seeds")
    return visits


def check_plan(card: Mapping[str, Any]) -> None:
    """The types of what a run was asked for, before they are used.

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


def is_count(array: Any, shape: tuple[int, int, int]) -> bool:
    """Whether these are counts, of so many axes, of which one (its number) has a certain length."""
    axes, axis, length = shape
    counts = array.dtype.kind == "i" and array.ndim == axes and array.shape[axis] == length
    return bool(counts and (array >= 0).all())


def check_episodes(kept: Mapping[str, Any], path: Path) -> None:
    """Refuse returns and lengths that do not belong to their counts.

    Raises:
        CorruptCheckpoint: they do not.
    """
    returns, lengths, counts = (kept[name] for name in ("returns", "lengths", "counts"))
    whole = is_count(counts, (1, 0, len(counts))) and is_count(lengths, (1, 0, counts.sum()))
    if not whole or returns.shape != lengths.shape or returns.dtype.kind != "f":
        raise CorruptCheckpoint(f"{path}: returns, lengths and counts do not belong together")
