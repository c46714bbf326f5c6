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
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

import bellmax
from bellmax.agent_config import build
from bellmax.arguments import path_of
from bellmax.catalog import saved_class
from bellmax.contracts import ConfigError, CorruptCheckpoint
from bellmax.files import storage
from bellmax.files.dataset import Dataset
from bellmax.files.policy_files import check_named, fingerprint, load_together, read_policy, save_together
from bellmax.training.evaluate import Evaluation
from bellmax.training.options import read_options
from bellmax.training.records import Episodes, History
from bellmax.training.run import Run

PACKAGES = ("numpy", "scipy", "numba", "jax", "jaxlib", "equinox", "optax", "gymnasium", "safetensors")

SINGLE_FILES = 100  # seeds with files of their own; a file takes milliseconds, most of them until it is safely on disk


def open_folder(run: Run) -> None:
    """Make the folder and write what is known before the first step.

    Raises:
        ConfigError: it exists already or cannot be written.
    """
    folder = _folder(run)
    storage.make_folder(folder)
    try:
        (folder / "policies").mkdir()
    except OSError as error:  # another run that started together with this one has it
        raise ConfigError(f"cannot write to output folder {folder}: {error.strerror}; name another one") from error
    write_config(run)
    storage.write_json(folder / "environment.json", environment())
    storage.write(folder / "history.csv", run.history.to_csv())


def write_config(run: Run) -> None:
    """What was asked for, as `load` reads it back."""
    storage.write_json(
        _folder(run) / "config.json",
        {
            "format": storage.FORMAT,
            "world": run.world,
            "env_kwargs": run.env_kwargs,
            "agent": run.config.name,
            "hyper_parameters": asdict(run.config),
            "steps": run.steps,
            "seeds": run.seeds,
            "loop": run.loop,
            **asdict(run.options),
        },
    )


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "bellmax": bellmax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def save(run: Run) -> None:
    """All as it is now; each file is the old one or the new one, never a torn one.

    The history comes last, so that there is never less of anything else than it tells of.
    """
    folder = _folder(run)
    storage.inner_folder(folder / "policies")
    for which, policies in run.policies.items():
        if len(run.seeds) > SINGLE_FILES:
            save_together(policies, folder / "policies" / f"all-{which}")
            continue
        for seed, policy in zip(run.seeds, policies, strict=True):
            policy.save(folder / "policies" / f"seed-{seed}-{which}")
    if run.episodes:
        returns, lengths = (np.concatenate(column) for column in zip(*run.episodes, strict=True))
        counts = np.array([episodes.returns.size for episodes in run.episodes], np.int64)
        write_arrays(folder / "episodes.safetensors", {"returns": returns, "lengths": lengths, "counts": counts})
    if run.visits is not None:
        write_arrays(folder / "visits.safetensors", {"visits": run.visits})
    storage.write(folder / "history.csv", run.history.to_csv())


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


def save_experience(run: Run) -> None:
    """Write what the replay memory of each seed holds, if that was asked for."""
    for seed, data in zip(run.seeds, run.experience, strict=bool(run.experience)):
        data.save(storage.inner_folder(_folder(run) / "experience") / f"seed-{seed}.safetensors")


def read_experience(run: Run) -> None:
    """Read what `save_experience` wrote.

    Raises:
        CorruptCheckpoint: a file is missing or damaged.
    """
    if run.options.keep_experience:
        folder = _folder(run) / "experience"
        try:
            run.experience = [Dataset.load(folder / f"seed-{seed}.safetensors") for seed in run.seeds]
        except (OSError, ConfigError) as error:
            raise CorruptCheckpoint(f"the experience in {folder} cannot be read: {error}") from error


def save_result(run: Run) -> None:
    """Write the result, the mark of a run that ended."""
    storage.write_json(
        _folder(run) / "result.json",
        {
            "summary": storage.finite({k: v for k, v in run.summary()._asdict().items() if k != "scores"}),
            "scores": storage.finite(run.scores),
            "evaluations": [{"returns": e.returns.tolist(), "lengths": e.lengths.tolist()} for e in run.evaluations],
        },
    )


def load(folder: str | os.PathLike[str]) -> Run:
    """Read a run back from its folder, also one that did not end.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint: a file of it is missing or damaged.
    """
    path = path_of("folder", folder)
    if not (path / "config.json").is_file():
        stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
        if (path.parent / f"{stem.name}.safetensors").is_file():
            raise ConfigError(f"{path} is a policy, not the folder of a run; use bellmax.load_policy({str(path)!r})")
        raise ConfigError(f"no run in {path}: it has no config.json; give the folder that train wrote (out=...)")
    card = storage.read_json(path / "config.json")
    storage.check_format(card, path / "config.json")
    try:
        check_named(card)
        check_plan(card)
        config = build(saved_class(card["agent"]), card["hyper_parameters"])
        history = (path / "history.csv").read_text()
        run = Run(
            card["world"], config, card["steps"], card["seeds"], card["loop"], card["env_kwargs"],
            History.from_csv(history[: history.rfind("\n") + 1], card["seeds"]),
            read_options(card), folder=path,
        )  # fmt: skip
        read_kept(run)
    except (*storage.MALFORMED, OSError, ConfigError) as error:
        raise CorruptCheckpoint(f"{path} does not hold a whole run: {error!r}") from error
    for which in ("final", "best"):
        whole, first = (path / "policies" / f"{name}-{which}" for name in ("all", f"seed-{run.seeds[0]}"))
        if whole.with_suffix(".json").exists():
            run.policies[which] = load_together(whole, len(run.seeds))
        elif len(run.history) or first.with_suffix(".json").exists():
            run.policies[which] = [read_policy(path / "policies" / f"seed-{seed}-{which}") for seed in run.seeds]
    if (path / "result.json").is_file():
        result = storage.read_json(path / "result.json")
        try:
            run.scores = [np.nan if score is None else float(score) for score in result["scores"]]
            run.evaluations = [
                Evaluation(np.array(e["returns"], np.float64), np.array(e["lengths"], np.int64))
                for e in result["evaluations"]
            ]
        except storage.MALFORMED as error:
            raise CorruptCheckpoint(f"{path / 'result.json'} is not the result of a run: {error!r}") from error
    return run


def check_plan(card: Mapping[str, Any]) -> None:
    """The types of a run's steps, seeds and loop, before they are used.

    Raises:
        TypeError: one is wrong.
    """
    steps, seeds, loop = card["steps"], card["seeds"], card["loop"]
    if type(steps) is not int or steps < 1:
        raise TypeError(f"steps={steps!r} is not a positive integer")
    if type(seeds) is not list or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise TypeError(f"seeds={seeds!r} is not a list of integers from 0")
    if loop not in ("compiled", "host"):
        raise TypeError(f"loop={loop!r} is neither compiled nor host")


def read_kept(run: Run) -> None:
    """Read the episodes and visits of the records in the history.

    Raises:
        CorruptCheckpoint: they are damaged, or are not of this run.
    """
    folder, n = _folder(run), len(run.seeds)
    kept = read_arrays(folder / "episodes.safetensors")
    if kept is not None:
        check_episodes(kept, folder / "episodes.safetensors")
        ends = np.cumsum(kept["counts"])[:-1]
        columns = np.split(kept["returns"], ends), np.split(kept["lengths"], ends)
        run.episodes = [Episodes(*pair) for pair in zip(*columns, strict=True)]
    counts = read_arrays(folder / "visits.safetensors")
    if counts is not None:
        run.visits = counts["visits"]
    if len(run.episodes) not in (0, n) or not (run.visits is None or is_count(run.visits, (4, 1, n))):
        raise CorruptCheckpoint(f"the episodes or visits in {folder} are not those of {n} seeds")
    run.drop_after(run.history.step[-1] if len(run.history) else 0)


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


def _folder(run: Run) -> Path:
    assert run.folder is not None  # noqa: S101 - only saved runs come here
    return run.folder
