"""Plain Python. Write a `Run` to its folder and read it; `files/run_files.py` lists the files."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.arguments import path_of
from bellmax.catalog import is_deep
from bellmax.contracts import CheckpointError, ConfigError, CorruptCheckpoint, Json, ResourceError, listed
from bellmax.files import lock, manifest, provenance, run_files, storage
from bellmax.files.checkpoint import SavedGroup, group_contents
from bellmax.files.dataset import Dataset
from bellmax.files.manifest import Content
from bellmax.files.saved_files import Files, files_of
from bellmax.files.saved_parts import agent_of, saved_config
from bellmax.files.world_traits import read_traits
from bellmax.loops.logs import Episodes
from bellmax.training.early_stop import EarlyStop
from bellmax.training.history import History
from bellmax.training.kept_policies import KeptPolicies
from bellmax.training.options import read_options
from bellmax.training.play import Evaluation
from bellmax.training.policy import Policy
from bellmax.training.run import WHICH, Run

# what `resume` needs from any checkpoint on, beside the files of that
NEEDED = ("config.json", "history.csv", "episodes.safetensors", "visits.safetensors")


def begin_folder(run: Run) -> None:
    """Write to the folder of a run, which is held, what is known before the first step; it can then be resumed.

    Raises:
        ConfigError: it cannot be written to.
    """
    folder = _folder(run)
    storage.check_writable(folder)
    try:
        run.environment = provenance.environment(network=is_deep(run.config))
        _commit(run, [_environment(run), *_words(run)], step=0)
    except ResourceError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise ConfigError(f"cannot write to output folder {folder}: {why}; choose another one") from error


def write_config(run: Run) -> None:
    """Write the arguments of a run, which `load` reads, and its versions and machine."""
    _commit(run, [_config(run), _environment(run)])


def note_continuation(run: Run, step: int) -> list[str]:
    """Note in a run that it continues from `step` in this process; return what differs from before."""
    now = provenance.environment(network=is_deep(run.config))
    run.environment, differing = provenance.continued(run.environment, step, now)
    return differing


def _environment(run: Run) -> tuple[str, bytes]:
    return "environment.json", storage.json_bytes(run.environment)


def _commit(run: Run, contents: Iterable[tuple[str, Content]], **how: Any) -> None:
    """Make `contents` part of the saved state of a run; see `manifest.commit`."""
    about: dict[str, Json] = {"seeds": run.seeds, "kind": run.loop}
    if run.folder is not None:
        lock.check_held(run.folder)
    manifest.commit(_folder(run), contents, about, **how)


def _config(run: Run) -> tuple[str, bytes]:
    return "config.json", storage.json_bytes({"format": manifest.FORMAT, **_card(run)})


def _words(run: Run) -> Iterator[tuple[str, bytes]]:
    yield _config(run)
    yield "history.csv", run.history.to_csv().encode()


def _card(run: Run) -> dict[str, Any]:
    return {
        "world": run.world,
        "env_kwargs": run.env_kwargs,
        **({"world_traits": run._traits} if run._traits else {}),
        **agent_of(run.config),
        "hyper_parameters": asdict(run.config),
        "steps": run.steps,
        "seeds": run.seeds,
        "loop": run.loop,
        **asdict(run.options),
        **({"on_record": run.on_record} if run.on_record else {}),
        **({"stopped": run.stopped._asdict()} if run.stopped else {}),
    }


def save_run(
    run: Run,
    step: int | None = None,
    groups: Iterable[SavedGroup] = (),
    *,
    afresh: bool = False,
    experience: bool = False,
) -> None:
    """Write the present state of a run in one moment: the folder has the old state or the new one.

    Args:
        run: its results so far.
        step: of a new checkpoint, or None.
        groups: what the checkpoint stores of each group; one at a time is needed.
        afresh: write all files, also those that seem unchanged.
        experience: also write the experience of each seed.

    Raises:
        ResourceError: a file cannot be written; the old state is unchanged.
    """

    def contents() -> Iterator[tuple[str, Content]]:
        if afresh:
            yield _environment(run)
        yield from _words(run)
        for which, learned in run.policies.items():
            parts = [(policy.card(), policy.arrays) for policy in learned]
            yield from run_files.policies_contents(which, run.seeds, parts)
        if run.episodes:
            yield "episodes.safetensors", run_files.episodes_content(run.episodes)
        for at, policies in run.kept_policies.unsaved(afresh=afresh):
            yield run_files.kept_content(at, policies)
        if run.visits is not None:
            yield "visits.safetensors", run_files.arrays_content({"visits": run.visits})
        for seed, data in zip(run.seeds, run.experience, strict=experience) if experience else ():
            yield f"experience/seed-{seed}.safetensors", data.content()
        for g, group in enumerate(groups):
            yield from group_contents(step or 0, g, group)

    _commit(run, contents(), step=step, keep=run.options.keep_checkpoints, afresh=afresh)
    run.kept_policies.note_saved()


def frozen(run: Run) -> Run:
    """Return a run that stays as `run` is now while it is trained further."""
    policies = {which: list(each) for which, each in run.policies.items()}
    return replace(
        run, history=run.history.copy(), policies=policies, episodes=list(run.episodes),
        kept_policies=run.kept_policies.copy(),
    )  # fmt: skip


def read_experience(run: Run) -> None:
    """Read the experience that `save_run` wrote.

    Raises:
        CorruptCheckpoint: a file is missing or damaged.
    """
    if run.options.keep_experience:
        files = files_of(_folder(run))
        names = [f"experience/seed-{seed}.safetensors" for seed in run.seeds]
        try:
            run.experience = [Dataset.from_arrays(*files.tensors(name), files.folder / name) for name in names]
        except ConfigError as error:
            raise CorruptCheckpoint(f"the experience in {files.folder} cannot be read: {error}") from error


def save_result(run: Run) -> None:
    """Write the result, which marks a run that has ended, and remove its checkpoints."""
    result: Json = {
        "summary": storage.finite({k: v for k, v in run.summary()._asdict().items() if k != "scores"}),
        "scores": storage.finite(run.scores),
    }
    contents = [("result.json", storage.json_bytes(result))]
    if run.evaluations:
        content = run_files.episodes_content([(each.returns, each.lengths) for each in run.evaluations])
        contents.append(("evaluations.safetensors", content))
    _commit(run, contents, step=run.end, keep=0)


def load(folder: str | os.PathLike[str]) -> Run:
    """Read a run from its folder, also one that has not ended.

    Raises:
        ConfigError: there is no run in this folder.
        CorruptCheckpoint: a file is missing, damaged, or of another run or step; the message says what can be used.
        IncompatibleCheckpoint, UnsafeFile: the module of its agent or network, which is your own, is not imported.
    """
    path = path_of("folder", folder)
    files = files_of(path)
    while True:
        try:
            return read_run(files)
        except CorruptCheckpoint as error:
            now = files_of(path)
            if now.manifest == files.manifest:
                raise CorruptCheckpoint(f"{error}{usable(files)}") from error
            files = now  # a living run saved its next state while this one was read


def read_run(files: Files, *, policies: bool = True) -> Run:
    """Read a run, with or without its policies; raises as `load`."""
    path, card = files.folder, run_files.read_config(files)
    try:
        run_files.check_card(card)
        config = saved_config(card)
        history = files.read("history.csv").decode()
        if files.manifest is None:  # format 1: the last line may be incomplete
            history = history[: history.rfind("\n") + 1]
        run = Run(
            card["world"], config, card["steps"], card["seeds"], card["loop"], card["env_kwargs"],
            History.from_csv(history, card["seeds"]), read_options(card), folder=path,
        )  # fmt: skip
        run.environment = read_environment(files)
        run.episodes = [Episodes(*pair) for pair in run_files.read_episodes(files, len(run.seeds))]
        run.visits = run_files.read_visits(files, len(run.seeds))
        run.stopped, run.on_record, run._traits = read_stop(card), read_hook_names(card), read_traits(card)
        known = set(run.history.step)
        run.kept_policies = KeptPolicies([step for step in run_files.kept_steps(files) if step in known])
        run.drop_after(run.history.step[-1] if len(run.history) else 0)
    except (*storage.MALFORMED, ConfigError) as error:
        raise CorruptCheckpoint(f"{path} does not hold a complete run: {error!r}") from error
    for which in WHICH if policies else ():
        parts = run_files.read_policies(files, which, run.seeds, expected=len(run.history) > 0)
        if parts:
            run.policies[which] = [Policy.from_parts(each) for each in parts]
    if files.has("result.json"):
        read_result(run, files)
    return run


def read_stop(card: Mapping[str, Any]) -> EarlyStop | None:
    """Return what config.json says of where training was stopped early; None if it was not.

    Raises:
        TypeError, LookupError: it is something else.
    """
    if (said := card.get("stopped")) is None:
        return None
    step, reason = said["step"], said["reason"]
    if type(step) is not int or step < 1 or type(reason) is not str:
        raise TypeError(f"stopped={said!r} is not a step and a reason")
    return EarlyStop(step, reason)


def read_hook_names(card: Mapping[str, Any]) -> list[str]:
    """Return the names of the functions that were called after each record, in config.json.

    Raises:
        TypeError: they are something else.
    """
    names = card.get("on_record", [])
    if type(names) is not list or not all(type(name) is str for name in names):
        raise TypeError(f"on_record={names!r} is not a list of names")
    return names


def read_environment(files: Files) -> provenance.Facts:
    """Return what environment.json says; {} if it is damaged, since nothing is computed from it."""
    with contextlib.suppress(CheckpointError):
        said = files.json("environment.json")
        if isinstance(said, dict):
            return said
    return {}


def read_result(run: Run, files: Files) -> None:
    """Read the scores and evaluations that `save_result` wrote.

    Raises:
        CorruptCheckpoint: they are damaged.
    """
    result: Any = files.json("result.json")  # checked as it is used
    try:
        run.scores = [np.nan if score is None else float(score) for score in result["scores"]]
        if files.manifest is None:
            run.evaluations = [
                Evaluation(np.array(e["returns"], np.float64), np.array(e["lengths"], np.int64))
                for e in result["evaluations"]
            ]
        else:
            pairs = run_files.read_episodes(files, len(run.seeds), "evaluations.safetensors")
            run.evaluations = [Evaluation(*pair) for pair in pairs]
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"{files.folder / 'result.json'} is not the result of a run: {error!r}") from error


def usable(files: Files) -> str:
    """Return what of a damaged run can still be used, in words."""
    if files.manifest is None:
        return ""
    needed = [name for name in files.manifest.files if name in NEEDED]
    steps = [
        str(step) for step, names in files.manifest.checkpoints.items()
        if all(map(files.is_whole, needed)) and all(map(files.is_whole, names))
    ]  # fmt: skip
    named = [name for name in files.manifest.files if name.startswith("policies/") and name.endswith(".json")]
    sound = [name[:-5] for name in named if files.is_whole(name) and files.is_whole(f"{name[:-5]}.safetensors")]
    words = ""
    if steps and not files.has("result.json"):
        words += (
            f"; `bellmax resume {shlex.quote(str(files.folder))} --from STEP` needs only the files of a checkpoint: "
            f"{', '.join(steps)}"
        )
    if sound:
        words += f"; bellmax.load_policy can still read {listed(str(files.folder / name) for name in sound[:3])}"
    return words


def _folder(run: Run) -> Path:
    assert run.folder is not None  # noqa: S101 - only saved runs come here
    return lock.place_held(run.folder)
