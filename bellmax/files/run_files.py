"""Plain Python. The files in a run's folder: what each one contains, and how it is read.

manifest.json         binds all others, see `files/manifest.py`
config.json           environment, agent, hyperparameters, steps, seeds, loop
environment.json      versions, machine, start time, see `files/provenance.py`
history.csv           one line per seed and record
episodes.safetensors  returns and lengths of the first training episodes, seed after seed, and counts [seeds]
visits.safetensors    visits [T, seeds, S, A] of a table at each record, where these are at most 10^7 numbers
policies/             seed-0-final.safetensors and .json, seed-0-best..., for every seed; for more than a hundred
                      seeds all-final.safetensors and .json, all-best...
kept/                 step-100.safetensors, ..., the policies of all seeds at each record, with `keep_policies`
experience/           seed-0.safetensors, ..., the replay buffer of every seed at the end, with `keep_experience`
checkpoint/           of a run that has not ended, see `files/checkpoint.py`
evaluations.safetensors  returns and lengths of the final episodes, as those of training
result.json           scores and summary; a run without it has not ended
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint, FloatArray, IntArray
from bellmax.files import manifest, storage
from bellmax.files.of_others import refuse_others
from bellmax.files.policy_files import (
    PolicyParts,
    check_named,
    check_numbers,
    contents,
    contents_together,
    read_files,
    read_together,
)
from bellmax.files.saved_files import Files
from bellmax.files.storage import fingerprint

KEPT_VISITS = 10**7  # numbers in visits.safetensors
SINGLE_FILES = 100  # seeds with files of their own: each file takes milliseconds to sync


def read_config(files: Files) -> dict[str, Any]:
    """Return what config.json says; only its format is checked.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint, IncompatibleCheckpoint: this version cannot read it, or the run lacks its manifest.
        UnsafeFile: it is a model of another library.
    """
    folder = files.folder
    path = folder / "config.json"
    if not files.has("config.json"):
        stem = folder.with_suffix("") if folder.suffix in (".safetensors", ".json") else folder
        if (folder.parent / f"{stem.name}.safetensors").is_file():
            raise ConfigError(
                f"{folder} is a policy, not the folder of a run; use bellmax.load_policy({str(folder)!r})"
            )
        refuse_others(folder)
        raise ConfigError(f"no run in {folder}: it has no config.json; pass the folder that train wrote (out=...)")
    card = storage.check_format(files.json("config.json"), path, manifest.FORMAT)
    if files.manifest is None and card["format"] != 1:
        raise CorruptCheckpoint(
            f"{folder / manifest.NAME} is missing, without which the files of a run are not known to belong together; "
            "restore it. bellmax.load_policy reads single policies"
        )
    return card


def policies_contents(
    which: str, seeds: Sequence[int], parts: Sequence[tuple[Mapping[str, Any], ArrayDict]]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the (card, arrays) of each seed's policy: two for each seed, or for all of many seeds."""
    if len(seeds) > SINGLE_FILES:
        yield from contents_together(f"policies/all-{which}", parts[0][0], [arrays for _, arrays in parts])
        return
    for seed, (card, arrays) in zip(seeds, parts, strict=True):
        yield from contents(f"policies/seed-{seed}-{which}", card, arrays)


def read_policies(files: Files, which: str, seeds: Sequence[int], *, expected: bool) -> list[PolicyParts]:
    """Read the policies that `policies_contents` made; [] if there are none and none are `expected`.

    Raises:
        CorruptCheckpoint: a file is missing or damaged.
    """
    whole, first = (f"policies/{name}-{which}" for name in ("all", f"seed-{seeds[0]}"))
    if files.has(f"{whole}.json"):
        return read_together(files, whole, len(seeds))
    if expected or files.has(f"{first}.json"):
        return [read_files(files, f"policies/seed-{seed}-{which}") for seed in seeds]
    return []


def kept_content(step: int, policies: Sequence[ArrayDict]) -> tuple[str, bytes]:
    """Return (name, content) of the file with the policies of all seeds at a record; arrays have an axis of seeds."""
    stacked = {name: np.stack([arrays[name] for arrays in policies]) for name in policies[0]}
    return f"kept/step-{step}.safetensors", arrays_content(stacked)


def kept_steps(files: Files) -> list[int]:
    """Return the steps of the records whose policies are in files, the first ones first."""
    return sorted(int(found[1]) for found in map(manifest.KEPT.fullmatch, files.names()) if found)


def read_kept(files: Files, step: int, like: Sequence[ArrayDict]) -> list[ArrayDict]:
    """Read the policies of a record that `kept_content` wrote; `like` are policies of the same seeds.

    Raises:
        CorruptCheckpoint: the file is missing or damaged, or has other arrays.
    """
    name = f"kept/step-{step}.safetensors"
    expected = {key: (array.dtype, (len(like), *array.shape)) for key, array in like[0].items()}
    size = sum(dtype.itemsize * math.prod(shape) for dtype, shape in expected.values())
    stacked = read_arrays(files, name, size + 100_000)
    if stacked is None:
        raise CorruptCheckpoint(f"{files.folder / name} is missing")
    if {key: (array.dtype, array.shape) for key, array in stacked.items()} != expected:
        raise CorruptCheckpoint(f"{files.folder / name} does not hold policies of this run")
    try:
        check_numbers(stacked)
    except ValueError as error:
        raise CorruptCheckpoint(f"{files.folder / name} does not hold policies: {error}") from error
    return [{key: array[i] for key, array in stacked.items()} for i in range(len(like))]


def arrays_content(arrays: ArrayDict) -> bytes:
    """Return the content of a safetensors file with a hash of its arrays."""
    return storage.to_bytes(arrays, metadata={"sha256": fingerprint({}, arrays)})


def read_arrays(files: Files, name: str, most: int | None = None) -> ArrayDict | None:
    """Read a file with the content that `arrays_content` returned; None if there is no such file.

    Raises:
        CorruptCheckpoint: it has more than `most` bytes, or its content is not what was saved.
    """
    if not files.has(name):
        return None
    arrays, about = files.tensors(name, most=most)
    if fingerprint({}, arrays) != about.get("sha256"):
        raise CorruptCheckpoint(f"{files.folder / name} is not what was saved; its SHA-256 differs")
    return arrays


def episodes_content(episodes: Sequence[tuple[FloatArray, IntArray]]) -> bytes:
    """Return the content of a file with the (returns, lengths) of each seed's episodes."""
    returns, lengths = (np.concatenate(column) for column in zip(*episodes, strict=True))
    counts = np.array([returns.size for returns, _ in episodes], np.int64)
    return arrays_content({"returns": returns, "lengths": lengths, "counts": counts})


def read_episodes(files: Files, n_seeds: int, name: str = "episodes.safetensors") -> list[tuple[FloatArray, IntArray]]:
    """Read what `episodes_content` wrote; [] if there is no such file, as in a run of an older version.

    Raises:
        CorruptCheckpoint: they are damaged, or are of another number of seeds.
    """
    kept = read_arrays(files, name)
    if kept is None:
        return []
    check_episodes(kept, files.folder / name)
    ends = np.cumsum(kept["counts"])[:-1]
    episodes = list(zip(np.split(kept["returns"], ends), np.split(kept["lengths"], ends), strict=True))
    if len(episodes) not in (0, n_seeds):
        raise CorruptCheckpoint(f"the episodes or visits in {files.folder} are not those of {n_seeds} seeds")
    return episodes


def read_visits(files: Files, n_seeds: int) -> IntArray | None:
    """Read how often each pair was updated until each record, [T, seeds, S, A]; None if there is no such file.

    Raises:
        CorruptCheckpoint: they are damaged, or are of another number of seeds.
    """
    counts = read_arrays(files, "visits.safetensors", 8 * KEPT_VISITS + 10_000)
    if counts is None:
        return None
    visits: IntArray = counts["visits"]
    if not is_count(visits, (4, 1, n_seeds)):
        raise CorruptCheckpoint(f"the episodes or visits in {files.folder} are not those of {n_seeds} seeds")
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
    if type(seeds) is not list or {*map(type, seeds)} != {int} or min(seeds) < 0:
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
