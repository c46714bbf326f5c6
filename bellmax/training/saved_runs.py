"""Plain Python. Write a `Run` to its folder and read it; `files/run_files.py` lists the files."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.agent_config import build
from bellmax.arguments import path_of
from bellmax.contracts import ConfigError, CorruptCheckpoint
from bellmax.files import run_files, storage
from bellmax.files.dataset import Dataset
from bellmax.files.saved_parts import agent_of, saved_class
from bellmax.loops.logs import Episodes
from bellmax.training.history import History
from bellmax.training.options import read_options
from bellmax.training.play import Evaluation
from bellmax.training.policy import Policy
from bellmax.training.run import Run


def begin_folder(run: Run) -> None:
    """Write to the folder of a run, which is held, what is known before the first step.

    Raises:
        ConfigError: it cannot be written to.
    """
    run_files.make_run_folder(_folder(run), _card(run), run.history.to_csv())


def write_config(run: Run) -> None:
    """Write the arguments of a run, which `load` reads."""
    run_files.write_card(_folder(run), _card(run))


def _card(run: Run) -> dict[str, Any]:
    return {
        "world": run.world,
        "env_kwargs": run.env_kwargs,
        **agent_of(run.config),
        "hyper_parameters": asdict(run.config),
        "steps": run.steps,
        "seeds": run.seeds,
        "loop": run.loop,
        **asdict(run.options),
    }


def save_run(run: Run) -> None:
    """Write the present state of a run; each file is the old one or the new one, never incomplete.

    The history comes last: the other files always have everything that it has.
    """
    folder = _folder(run)
    storage.inner_folder(folder / "policies")
    for which, policies in run.policies.items():
        parts = [(policy.card(), policy.arrays) for policy in policies]
        run_files.write_policies(folder, which, run.seeds, parts)
    if run.episodes:
        run_files.write_episodes(folder, run.episodes)
    if run.visits is not None:
        run_files.write_visits(folder, run.visits)
    storage.write(folder / "history.csv", run.history.to_csv())


def save_experience(run: Run) -> None:
    """Write the experience of each seed, if the run has it."""
    for seed, data in zip(run.seeds, run.experience, strict=bool(run.experience)):
        data.save(storage.inner_folder(_folder(run) / "experience") / f"seed-{seed}.safetensors")


def read_experience(run: Run) -> None:
    """Read the experience that `save_experience` wrote.

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
    """Write the result, which marks a run that has ended."""
    storage.write_json(
        _folder(run) / "result.json",
        {
            "summary": storage.finite({k: v for k, v in run.summary()._asdict().items() if k != "scores"}),
            "scores": storage.finite(run.scores),
            "evaluations": [{"returns": e.returns.tolist(), "lengths": e.lengths.tolist()} for e in run.evaluations],
        },
    )


def load(folder: str | os.PathLike[str]) -> Run:
    """Read a run from its folder, also one that has not ended.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint: a file is missing or damaged.
        IncompatibleCheckpoint, UnsafeFile: the module of its agent or network, which is your own, is not imported.
    """
    path = path_of("folder", folder)
    card = run_files.read_card(path)
    try:
        run_files.check_card(card)
        config = build(saved_class(card), card["hyper_parameters"])
        history = (path / "history.csv").read_text()
        run = Run(
            card["world"], config, card["steps"], card["seeds"], card["loop"], card["env_kwargs"],
            History.from_csv(history[: history.rfind("\n") + 1], card["seeds"]),
            read_options(card), folder=path,
        )  # fmt: skip
        run.episodes = [Episodes(*pair) for pair in run_files.read_episodes(path, len(run.seeds))]
        run.visits = run_files.read_visits(path, len(run.seeds))
        run.drop_after(run.history.step[-1] if len(run.history) else 0)
    except (*storage.MALFORMED, OSError, ConfigError) as error:
        raise CorruptCheckpoint(f"{path} does not hold a complete run: {error!r}") from error
    for which in ("final", "best"):
        parts = run_files.read_policies(path, which, run.seeds, expected=len(run.history) > 0)
        if parts:
            run.policies[which] = [Policy.from_parts(each) for each in parts]
    if (path / "result.json").is_file():
        read_result(run, path / "result.json")
    return run


def read_result(run: Run, path: Path) -> None:
    """Read the scores and evaluations that `save_result` wrote.

    Raises:
        CorruptCheckpoint: they are damaged.
    """
    result: Any = storage.read_json(path)  # checked as it is used
    try:
        run.scores = [np.nan if score is None else float(score) for score in result["scores"]]
        run.evaluations = [
            Evaluation(np.array(e["returns"], np.float64), np.array(e["lengths"], np.int64))
            for e in result["evaluations"]
        ]
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"{path} is not the result of a run: {error!r}") from error


def _folder(run: Run) -> Path:
    assert run.folder is not None  # noqa: S101 - only saved runs come here
    return run.folder
