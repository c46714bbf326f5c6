"""NumPy. `resume`: continue a stopped run from its last checkpoint and finish it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from bellmax.arguments import check_flag, integer, path_of
from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint, listed
from bellmax.envs.host_steps import Handling
from bellmax.files import checkpoint, format_one, manifest, run_files, storage
from bellmax.files.data_sources import name_of, read_data
from bellmax.files.existing_folders import log_others
from bellmax.files.lock import locked, place_held
from bellmax.files.provenance import EXACT
from bellmax.files.saved_environments import find_saved_world, options_to_repeat, written
from bellmax.files.saved_files import files_of, saved_step
from bellmax.files.world_traits import check_same_world, traits_of
from bellmax.loops import choosing
from bellmax.loops.logs import check_step
from bellmax.loops.loop import Loop
from bellmax.loops.masking import masked_as_asked
from bellmax.machine import out_of_memory
from bellmax.sources import Source
from bellmax.stderr import voices
from bellmax.training import saved_runs
from bellmax.training.kept_policies import check_room_for_kept
from bellmax.training.options import Changes, RunOptions, change_options, check_room_for
from bellmax.training.progress import compiling_shown
from bellmax.training.record_hooks import NOTE, OnRecord, hook_names, read_hooks
from bellmax.training.run import Run
from bellmax.training.train_arguments import check_handled, check_kept, check_saved
from bellmax.training.trainer import Trainer


def resume(
    folder: str | os.PathLike[str],
    world: object = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    data: object = None,
    step: int | None = None,
    on_record: OnRecord | Sequence[OnRecord] | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **options: Unpack[Changes],
) -> Run:
    """Resume a stopped run from its last checkpoint and finish it, with its original options.

    The run ends with the same bits as if it had not been stopped, unless a line says otherwise: with
    `save_replay_every`, the replay buffer of a run that was killed may be older than the rest. A Gymnasium environment
    is restored by repeating its episode: from the same random numbers, with the same actions. If its observation then
    differs from the saved one, or the episode is too long, it starts a new episode from a seed that training has not
    used, and a line says so.

    Args:
        folder: of the run.
        world: needed if the run was given an object and not a name, or a name that imports a module.
        env_kwargs: replace the saved ones one by one, and are saved; a saved one that imports, writes or opens a window
            must be passed again.
        data: needed if they were not a file, or have moved.
        step: resume from the checkpoint of this step, and from no other; by default from the newest one that is not
            damaged, and a line says if that is an earlier one.
        on_record: as for `train`; functions are not saved, so pass them again. A line says if they are missing.
        progress: as for `train`.
        say: called with each line of output, also with what differs from before.
        **options: of `train`; they replace the saved ones: eval_episodes, final_episodes, keep_experience,
            keep_checkpoints, save_replay_every, workers, env_timeout, env_restarts, on_nonfinite and strict. The others
            cannot change.

    Raises:
        ConfigError: there is no run in `folder`, it has ended, or it does not have a checkpoint of `step`; its data
            have changed; or an option cannot change, or has an invalid value.
        RunLocked: a living run uses the folder.
        CorruptCheckpoint, IncompatibleCheckpoint: the checkpoint is damaged, or is of another agent or environment.
        UnsafeFile: only the file asks for something that imports a module, writes files or opens a window.
    """
    say_line, _ = voices(say)
    check_flag("progress", progress)
    hooks = read_hooks(on_record)
    path = path_of("folder", folder)
    wanted = None if step is None else integer("step", step, 0)
    run_files.read_config(files_of(path))  # there is a run to hold
    with locked(path), compiling_shown(progress):
        return go_on(path, world, env_kwargs, data, progress, say_line, options, wanted, hooks)


def go_on(
    folder: Path, world: object, env_kwargs: Mapping[str, Any] | None, data: object, progress: bool | None,
    say_line: Callable[[str], None], options: Mapping[str, object], wanted: int | None = None,
    hooks: Sequence[OnRecord] = (),
) -> Run:  # fmt: skip
    """Resume the run in a folder that is held; see `resume`."""
    stopped = load_stopped(folder, wanted)
    run, step, groups = stopped.run, stopped.step, stopped.groups
    changed, differing = change_options(run.options, options)
    check_room_for(changed, len(run.seeds), run.steps)
    check_kept(run.config, changed, offline_run=run.options.data is not None)
    remarks: list[str] = []
    source = find_source(run, world, env_kwargs, changed, remarks.append)
    run.options = changed
    elsewhere = source.name == run.world and written(source.arguments) != written(run.env_kwargs)
    if elsewhere:
        check_saved(source.arguments)
        run.env_kwargs, run._traits = dict(source.arguments), traits_of(source)
    check_step(step, run.steps, groups)
    run.drop_after(step)
    ended = step == run.end and not groups  # only the final evaluation is missing
    if ended:
        check_ended(run, differing)
        saved_runs.read_experience(run)
    engine = None if ended else loop_to_resume(run, source, data)
    if engine is not None:
        parts = changed, run.config, source.space, source.n_actions, len(run.seeds), run.steps, engine.stride
        check_room_for_kept(*parts)
    for remark in stopped.remarks:
        say_line(remark)
    say_line(f"{run.config.name} on {run.world}: resumed at step {step:,} of {run.steps:,}")
    others = saved_runs.note_continuation(run, step)
    if others:
        remarks.append(f"from step {step:,} on, this is {EXACT}: {'; '.join(others)}")
    remarks += missing_hooks(run, hooks, ended=ended)
    for remark in remarks + ([f"options differ from before: {', '.join(differing)}"] if differing else []):
        say_line(remark)
    if stopped.afresh and ended:
        saved_runs.save_run(run, step, afresh=True, experience=run.options.keep_experience)
    elif (differing or elsewhere or others) and not stopped.afresh:
        saved_runs.write_config(run)
    return finish(Trainer(run, source, engine, step, groups, afresh=stopped.afresh, hooks=hooks), progress, say_line)


def missing_hooks(run: Run, hooks: Sequence[OnRecord], *, ended: bool) -> list[str]:
    """Return a line if a run had functions that were called after each record, and has none now; note the new ones."""
    before, now = run.on_record, hook_names(hooks)
    if before and not now and not ended:
        return [
            f"before, on_record={listed(before)} was called after each record; it is not now, so its columns end here "
            "and it cannot stop the run: pass on_record again"
        ]
    run.on_record = now or before
    return []


class Stopped(NamedTuple):
    """A run that can be resumed.

    Attributes:
        run: its arguments and results.
        step: of the checkpoint that is used.
        groups: the arrays of the checkpoint; [] before the first and after the last step.
        afresh: the folder is not of this step, or of an older format, and must be written again.
        remarks: lines on newer checkpoints, which are damaged or dropped, and one if the replay buffer is older.
    """

    run: Run
    step: int
    groups: list[ArrayDict]
    afresh: bool
    remarks: list[str]


def load_stopped(folder: Path, wanted: int | None = None) -> Stopped:
    """Read a run and the checkpoint of the step `wanted`; None: the newest one that is not damaged.

    Raises:
        ConfigError: there is no run, it has ended, or it has no checkpoint of this step.
        CorruptCheckpoint, UnsafeFile: a file is damaged, or a folder is a link.
    """
    files = files_of(folder)
    if files.has("result.json"):
        steps = run_files.read_config(files).get("steps")
        at = f" at step {steps:,}" if type(steps) is int else ""
        raise ConfigError(f"the run in {folder} has ended{at}; there is nothing to resume")
    run_files.read_config(files)
    log_others(folder)
    if files.manifest is None:
        run = saved_runs.load(folder)
        step, groups = format_one.read_checkpoint(folder)
        check_wanted(folder, wanted, [step])
        return Stopped(run, step, groups, True, [])
    for name in manifest.PLACES:
        storage.refuse_link(folder / name)
    steps = sorted(files.manifest.checkpoints, reverse=True)
    check_wanted(folder, wanted, steps)
    remarks: list[str] = []
    for step in steps if wanted is None else [wanted]:
        try:
            groups = checkpoint.read_groups(files, step)
        except CorruptCheckpoint as error:
            if wanted is not None or step == steps[-1]:
                raise CorruptCheckpoint(f"{error}; the run has checkpoints of {listed_steps(steps)}") from error
            remarks.append(f"the checkpoint of step {step:,} is damaged, and the one before it is used: {error}")
            continue
        break
    if wanted is not None and (later := [each for each in steps if each > wanted]):
        remarks.append(f"the run continues from step {wanted:,}, so its checkpoint of {listed_steps(later)} is dropped")
    older = {int(group[checkpoint.REPLAY_STEP][0]) for group in groups if checkpoint.REPLAY_STEP in group}
    about = [
        f"the replay buffer in the checkpoint is of step {held:,}, not {step:,} (save_replay_every); the run continues "
        "with it, so not bit for bit" for held in older
    ]  # fmt: skip
    if wanted is None and not remarks:
        return Stopped(saved_runs.load(folder), step, groups, False, about)
    run = saved_runs.read_run(files, policies=step > 0 and not groups)
    return Stopped(run, step, groups, True, remarks + about)


def check_wanted(folder: Path, wanted: int | None, steps: Sequence[int]) -> None:
    """Check that a run has the checkpoint that is asked for, or any.

    Raises:
        ConfigError: it does not have that one.
        CorruptCheckpoint: it has none.
    """
    if not steps:
        raise CorruptCheckpoint(f"the run in {folder} has no checkpoint; train it again in another folder")
    if wanted is not None and wanted not in steps:
        raise ConfigError(
            f"the run in {folder} has no checkpoint of step {wanted:,}; it has checkpoints of {listed_steps(steps)}"
        )


def listed_steps(steps: Sequence[int]) -> str:
    """Return the steps of checkpoints in words, the oldest first."""
    return f"step{'s' * (len(steps) > 1)} {listed(f'{step:,}' for step in sorted(steps))}"


def find_source(
    run: Run, world: object, env_kwargs: Mapping[str, Any] | None, options: RunOptions, say: Callable[[str], None]
) -> Source:
    """Return the environment of a resumed run; `say` is called with a line on what differs from before.

    Raises:
        IncompatibleCheckpoint: it has the name and the arguments of the environment of training, but differs.
    """
    handling = options.handling
    source = find_saved_world(world, env_kwargs, run.world, run.env_kwargs, handling=handling, say=say)
    if handling != Handling():
        check_handled(source, run.loop)
    source = masked_as_asked(run.config, source, run.loop)[0]
    if source.name == run.world and written(source.arguments) == written(run.env_kwargs):
        check_same_world(run.world, run._traits, source)
    return source


def check_ended(run: Run, differing: Sequence[str]) -> None:
    """Check a run that has taken its last step: only its final evaluation is missing.

    Raises:
        CorruptCheckpoint: its policies or its history are incomplete.
        ConfigError: a changed option would have had an effect only earlier.
    """
    if not run.policies or run.history.step[-1:] != [run.end]:
        raise CorruptCheckpoint(f"{run.folder}: the checkpoint is of the last step, but the history ends before it")
    if late := [line for line in differing if line.startswith("keep_experience=True")]:
        raise ConfigError(f"{late[0]}: too late, training has ended and the replay buffer is lost")


def loop_to_resume(run: Run, source: Source, data: object) -> Loop[Any]:
    """Return the loop of a resumed run."""
    about, n = run.options.data, len(run.seeds)
    if about is None:
        if data is not None:
            raise ConfigError("the run did not learn from data: leave data out")
        return choosing.make_loop(
            run.config, source, run.loop, run.steps, run.options.vmap, n_seeds=n,
            episodes=run.options.episodes is not None, uneven=run.options.uneven,
        )  # fmt: skip
    where = about.source if data is None else data
    given = read_data(where)
    if given.sha256() != about.sha256:
        raise ConfigError(
            f"data {name_of(where)!r} ({given.steps:,} steps) are not those that the run began with "
            f"({about.steps:,} steps); pass those as data"
        )
    config = choosing.prepare_for_data(run.config, source, given)  # raises if another environment does not fit
    return choosing.make_data_loop(
        config, source, run.loop, run.steps, given, run.options.vmap, n_seeds=n, uneven=run.options.uneven
    )


def finish(trainer: Trainer, progress: bool | None, say: Callable[[str], None]) -> Run:
    """Run to the end; if it stops before, say what is saved and how to resume."""
    run = trainer.run
    try:
        with out_of_memory(f"{run.config.name} on {run.world}", "use fewer seeds, or a machine with more memory"):
            trainer.go(progress)
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            if note.startswith(NOTE):
                say(note)
        if run.folder is not None and run.policies:
            say(f"stopped; the state at step {saved_step(place_held(run.folder)):,} is saved in {run.folder}")
            again = options_to_repeat(run.world, run.env_kwargs, run.config)
            say(f"next: bellmax resume {shlex.quote(str(run.folder))}{again}")
        raise
    return run
