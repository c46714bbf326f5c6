"""Plain Python. `explain`: replay a window of a run, and record everything that happens in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.arguments import check_flag, describe, integer, path_of
from bellmax.catalog import is_deep, is_tabular
from bellmax.contracts import ConfigError, Json, counted, listed
from bellmax.files.data_sources import name_of, read_data
from bellmax.files.dataset import Dataset
from bellmax.loops import choosing
from bellmax.recording.starting import bring, changed_versions, find_saved
from bellmax.recording.table_recorders import Recorder
from bellmax.recording.window import RecordedStep, Window, shown
from bellmax.sources import Source
from bellmax.stderr import voices
from bellmax.training.progress import compiling_shown
from bellmax.training.resume import find_source
from bellmax.training.run import Run
from bellmax.training.saved_runs import load

MOST_STEPS = 1_000  # recorded steps of a window


def explain(
    run: Run | str | os.PathLike[str],
    *,
    at: int,
    steps: int = 10,
    seed: int | None = None,
    world: object = None,
    env_kwargs: Mapping[str, Any] | None = None,
    data: object = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> Window:
    """Replay `steps` steps of a run from the step `at` on, and record everything that happens in them.

    The replay starts from the newest usable checkpoint in the run's folder before `at`, else from the first step; a run
    is deterministic, so that it comes to the same state. A run with a network takes whole rounds: `train_freq` steps of
    every environment, then its gradient steps. The window begins with the round in which `at` lies.

    Args:
        run: a run, or its folder.
        at: the first step to record: environment steps so far, also of a run of so many episodes; of a run with data,
            gradient steps.
        steps: how many to record, in whole rounds; at most 1,000 are recorded. The window ends where the run does.
        seed: one of the run's seeds; by default its first.
        world: needed if the run was given an object and not a name, or a name that imports a module.
        env_kwargs: arguments of the environment, as for `resume`.
        data: needed if the run learned from data that were not a file, or have moved.
        progress: show it; by default only if standard error is a terminal.
        say: called with each line of output: where the replay starts, and what may differ from the run.

    Returns:
        The window: each step with its phases in order, their numbers, their equation and the code that does them.

    Raises:
        ConfigError: there is no run, or it does not have this seed or step; or its data are not those of the run.
        IncompatibleCheckpoint: the environment has the name of that of training, but differs.
        ResourceError: it does not fit in memory.
        UnsafeFile: only the file asks for something that imports a module, writes files or opens a window.
    """
    say_line, _ = voices(say)
    check_flag("progress", progress)
    at, steps = integer("at", at, 0), integer("steps", steps)
    found = run if isinstance(run, Run) else load(path_of("run", run))
    seed = found.seeds[0] if seed is None else integer("seed", seed, 0)
    check_place(found, at, seed)
    source = source_of(found, world, env_kwargs, say_line)
    with compiling_shown(progress):
        config, recorder = make_recorder(found, source, data)
        first, last = window_of(found, recorder, at, steps, end_of(found, seed), say_line)
        try:
            open_recorder(found, recorder, seed, first, progress, say_line)
            recorded = record_all(recorder, first, last)
        finally:
            recorder.close()
    if not recorded:
        raise ConfigError(
            f"at={at:,} is beyond the run: its {found.steps:,} episodes ended at step {recorder.clock():,}"
        )
    settings: dict[str, Json] = {name: shown(value) for name, value in asdict(config).items()}
    return Window(found.world, config.name, seed, recorded[0].t, tuple(recorded), settings, recorder.flow)


def check_place(run: Run, at: int, seed: int) -> None:
    """Check that a run has a seed and a step.

    Raises:
        ConfigError: it does not.
    """
    if seed not in run.seeds:
        raise ConfigError(f"the run does not have seed={seed}; its seeds: {listed(map(str, run.seeds))}")
    end = end_of(run, seed)
    if end is not None and at >= end:
        unit, early = ("steps" if run.unit == "episodes" else run.unit), f"; it was {run.early}" if run.stopped else ""
        raise ConfigError(f"at={at:,} is beyond the run, which has {end:,} {unit}{early}; choose 0 to {end - 1:,}")


def end_of(run: Run, seed: int) -> int | None:
    """Return the step at which a seed of a run ends; None where only a replay of its episodes can say."""
    if run.options.episodes is None:
        return run.end
    if run.stopped is None or not run.history.step:
        return None
    return int(run.history["time/total_timesteps"][run.seeds.index(seed), -1])


def source_of(run: Run, world: object, env_kwargs: Mapping[str, Any] | None, say: Callable[[str], None]) -> Source:
    """Return the environment of a run: that of training, or one created from its name; raises as `resume`."""
    if run._source is not None and world is None and env_kwargs is None:
        return run._source
    return find_source(run, world, env_kwargs, run.options, say)


def make_recorder(run: Run, source: Source, data: object) -> tuple[AgentConfig, Recorder]:
    """Return the config, as its loop needs it, and the recorder of that loop.

    Raises:
        ConfigError, ResourceError: as `train`; or the data are not those of the run.
    """
    if run.options.data is not None:
        return data_recorder(run, source, data)
    if data is not None:
        raise ConfigError("the run did not learn from data: leave data out")
    config, episodes = run.config, run.options.episodes is not None
    choosing.make_loop(config, source, run.loop, run.steps, n_seeds=1, episodes=episodes)  # checks what training checks
    if is_tabular(config):
        from bellmax.recording.table_recorders import CompiledTableRecorder, HostTableRecorder

        if run.loop == "compiled":
            return config, CompiledTableRecorder(config, source, run.steps, episodes=episodes)
        return config, HostTableRecorder(config, source, run.steps, episodes=episodes)
    assert is_deep(config)  # noqa: S101 - there are two families
    from bellmax.recording.network_recorders import CompiledNetworkRecorder, HostNetworkRecorder

    if run.loop == "compiled":
        return config, CompiledNetworkRecorder(config, source, run.steps)
    return config, HostNetworkRecorder(config, source, run.steps)


def data_recorder(run: Run, source: Source, data: object) -> tuple[AgentConfig, Recorder]:
    """Return the config and the recorder of a run that learned from data.

    Raises:
        ConfigError: the data are not those of the run.
    """
    given = data_of(run, data)
    config = choosing.prepare_for_data(run.config, source, given)
    if is_tabular(config):
        from bellmax.recording.table_recorders import DataTableRecorder

        return config, DataTableRecorder(config, source, run.loop, run.steps, given)
    assert is_deep(config)  # noqa: S101 - there are two families
    from bellmax.recording.network_recorders import DataNetworkRecorder

    return config, DataNetworkRecorder(config, source, run.steps, given)


def data_of(run: Run, data: object) -> Dataset:
    """Return the data that a run learned from, which `data` are said to be.

    Raises:
        ConfigError: they are others.
    """
    about = run.options.data
    assert about is not None  # noqa: S101 - the caller has looked
    where = about.source if data is None else data
    given = read_data(where)
    if given.sha256() != about.sha256:
        raise ConfigError(
            f"data {name_of(where)!r} ({given.steps:,} steps) are not those that the run learned from "
            f"({about.steps:,} steps); pass those as data"
        )
    return given


def window_of(
    run: Run, recorder: Recorder, at: int, steps: int, end: int | None, say: Callable[[str], None]
) -> tuple[int, int]:
    """Return the clock at the begin and the end of the window, in whole rounds, as far as the run's `end`.

    Raises:
        ConfigError: it is too long.
    """
    stride = recorder.stride
    first = at // stride * stride
    last = first + -(-steps // stride) * stride
    if end is not None:
        last = min(last, end)
    envs = getattr(run.config, "num_envs", stride if is_tabular(run.config) else 1)
    if (last - first) // envs > MOST_STEPS:
        most = MOST_STEPS * envs // stride * stride
        raise ConfigError(f"steps={describe(steps)} is too long a window; at most {most:,} {run.unit} are recorded")
    if first != at or last - first != steps:
        say(
            f"recorded from step {first:,} to step {last:,}: whole rounds of {counted(stride, 'step')}"
            if stride > 1 else f"recorded from step {first:,} to step {last:,}, where the run ends"
        )  # fmt: skip
    return first, last


def open_recorder(
    run: Run, recorder: Recorder, seed: int, first: int, progress: bool | None, say: Callable[[str], None]
) -> None:
    """Bring a recorder to the step from which on it records: a little before the window, if its parts need that."""
    begin = max(0, first // recorder.block * recorder.block - recorder.lead)
    saved = find_saved(run, seed, begin, say)
    for line in changed_versions(run, begin, network=is_deep(run.config)):
        say(line)
    if saved is None:
        recorder.start(seed)
    else:
        recorder.restore(saved)
        say(f"starts from the checkpoint of step {saved.step:,}")
    bring(recorder, begin, f"{run.config.name} {run.world}", progress, say)


def record_all(recorder: Recorder, first: int, last: int) -> list[RecordedStep]:
    """Return the recorded steps from the clock `first` to `last`; fewer if the run ends before."""
    recorded = list[RecordedStep]()
    while recorder.clock() < last:
        steps = recorder.record()
        if not steps:
            break
        recorded += [step for step in steps if first <= step.t < last]
    return recorded
