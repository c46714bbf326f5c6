"""NumPy. `train`: N seeds of one agent in one world; everything that was asked for is checked before it starts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.arguments import check_call, path_of
from bellmax.catalog import make_agent
from bellmax.contracts import BellmaxError, ConfigError, CorruptCheckpoint, Masked, counted, unknown
from bellmax.envs.host_steps import Handling
from bellmax.files import checkpoint, storage
from bellmax.files.data_sources import name_of, read_data
from bellmax.files.existing_folders import IF_EXISTS, is_taken, numbered, remove_run
from bellmax.files.saved_environments import find_saved_world, typed_again, written
from bellmax.loops import choosing, network_data
from bellmax.loops.loop import Loop
from bellmax.loops.masking import as_asked
from bellmax.loops.parts import check_step
from bellmax.sources import Source, find_world, split_arguments
from bellmax.stderr import voices
from bellmax.training import saved_runs
from bellmax.training.history import History
from bellmax.training.options import DataCard, RunOptions, change_options
from bellmax.training.run import Run
from bellmax.training.same_run import changed_options, read_same
from bellmax.training.train_arguments import (
    attempt,
    check_handled,
    check_kept,
    check_saved,
    check_seeds,
    read_length,
    with_wrappers,
)
from bellmax.training.trainer import Trainer


def train(
    world: Any,
    agent: str | type[AgentConfig] | AgentConfig,
    *misplaced: Any,
    steps: int | None = None,
    episodes: int | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | os.PathLike[str] | None = None,
    if_exists: str = "error",
    loop: str = "auto",
    env_kwargs: Mapping[str, Any] | None = None,
    records: int = 20,
    eval_episodes: int = 10,
    final_episodes: int = 100,
    keep_episodes: int = 2_000_000,
    data: Any = None,
    keep_experience: bool = False,
    wrappers: Sequence[Any] = (),
    workers: int = 0,
    env_timeout: float = 60.0,
    env_restarts: int = 0,
    on_nonfinite: str = "raise",
    strict: bool = False,
    vmap: int | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **hyper_parameters: Any,
) -> Run:
    """Train `agent` in `world` for `steps` environment steps on each seed.

    Args:
        world: a Gymnasium id, a name of the gallery, a FiniteMDP, a compiled World, an environment or its factory.
        agent: a name such as "dqn" in any case and spelling, a class such as `DQN`, or a config such as
            `DQN(double=True)`, which is used as it stands: without the settings that suit a known world.
        *misplaced: refused, with what to write.
        steps: environment steps per seed, by default 100,000, rounded down to whole rounds of the agent.
        episodes: episodes per seed in place of steps, for agents with a table. Records and schedules then go by
            episodes; seeds end at different steps.
        seeds: how many (0, 1, ...), or which.
        out: folder for the run's files. None saves nothing.
        if_exists: what to do if `out` exists: "error"; "number": take the first free of out-2, out-3, ...; "resume":
            finish the run in it, which must be the same; "replace": remove that run's own files first.
        loop: "compiled", "host" (through Gymnasium), or "auto": compiled where it exists.
        env_kwargs: keyword arguments of a world given by name.
        records: how often to log and evaluate over the run.
        eval_episodes: greedy episodes per seed at each record, 0 for none; a world with a table is evaluated exactly.
        final_episodes: greedy episodes per seed at the end, 0 for none.
        keep_episodes: how many training episodes to keep in `run.episodes`, an equal share for each seed, its first
            ones; 16 bytes each.
        data: learn from this and step no world but to evaluate; `steps` are then gradient steps. A Dataset, a file or
            folder that holds one (that of a run with `keep_experience`), or "minari:NAME".
        keep_experience: keep what the replay memory of each seed holds at the end, as `run.experience`, and in the
            run's folder, from which `data` reads it; rewards as they were learned from, scaled and clipped.
        wrappers: around the environment, from the innermost: names of Gymnasium's, such as "FlattenObservation",
            {"name": "FrameStackObservation", "stack_size": 4} with arguments, or "module:Class" of anybody's.
        workers: processes in which the environments of a seed are stepped, side by side; 0: in this one.
        env_timeout: seconds after which a worker that does not answer is stopped.
        env_restarts: how many environments in all may be recreated after they raised, died or hung; what they were
            in the middle of is left out.
        on_nonfinite: what a NaN or an infinity from the environment does: "raise" stops the run, "truncate_episode"
            ends the episode before that step, "skip" leaves the step out.
        strict: stop, too, where an observation is outside its Box; by default that is only remarked.
        vmap: seeds stacked in one program; by default 1 on a CPU and all on an accelerator.
        progress: show it; by default only if standard error is a terminal.
        say: called with each line for people; without it, settings that have no effect are a `RunWarning`.
        **hyper_parameters: of an agent given by name.

    Raises:
        ConfigError: anything asked for is unknown or out of range; all of it in one message, before the first step.
        EnvContractError, EnvCrashed, NonFiniteError: the environment failed; what was learned before is saved.
    """
    unnamed = "two arguments without a name, the environment and the agent"
    check_call("train", "steps", misplaced, {}, {}, unnamed)
    problems: list[str] = []
    say_line, remark = voices(say)
    options = attempt(problems, lambda: RunOptions(
        records=records, eval_episodes=eval_episodes, final_episodes=final_episodes, keep_episodes=keep_episodes,
        keep_experience=keep_experience, vmap=vmap, workers=workers, env_timeout=env_timeout,
        env_restarts=env_restarts, on_nonfinite=on_nonfinite, strict=strict,
    ))  # fmt: skip
    env_kwargs = attempt(problems, lambda: with_wrappers(env_kwargs, wrappers)) or {}
    handling = options.handling if options else Handling()
    folder = None if out is None else attempt(problems, lambda: path_of("out", out))
    source = attempt(problems, lambda: find_world(world, env_kwargs, handling))
    hyper_parameters = split_arguments(world, agent, hyper_parameters, problems)
    config = attempt(
        problems, lambda: make_agent(agent, source.name if source else "", hyper_parameters, data is not None)
    )
    seed_list = attempt(problems, lambda: check_seeds(seeds))
    given = None if data is None else attempt(problems, lambda: read_data(data))
    about_masks = ""
    if source and config and handling:
        masked = isinstance(getattr(given, "obs", None), Masked)
        wanted = "host" if handling != Handling() or masked else loop
        source, about_masks = attempt(problems, lambda: as_asked(config, source, wanted)) or (None, "")
    asked_for = config
    if source and config and given is not None:
        config = attempt(problems, lambda: network_data.prepare(config, source, given))
    attempt(problems, lambda: check_kept(config, keep_experience is True, offline_run=data is not None))
    length = attempt(problems, lambda: read_length(steps, episodes, config, with_data=data is not None))
    if if_exists not in IF_EXISTS:
        problems.append(unknown("if_exists", if_exists, IF_EXISTS))
    elif if_exists != "error" and out is None:
        problems.append(f"if_exists={if_exists!r} goes with out, the folder of the run's files")
    if loop not in ("auto", "compiled", "host"):
        problems.append(f"loop={loop!r}; choose auto, compiled or host")
    if problems or not (source and config and seed_list and options):
        raise ConfigError("; ".join(problems))
    steps, vmap = length, options.vmap
    options = options if episodes is None else replace(options, episodes=length)
    if out is not None:
        check_saved(env_kwargs)
    if source.fixed is not None and len(seed_list) > 1:
        raise ConfigError(f"one {source.name} object serves one seed, not {len(seed_list)}; give its class or its id")
    if handling != Handling():  # it is asked how an environment of Gymnasium is run
        check_handled(source, loop)
        loop = "host"
    kind, why = choosing.choose_loop(config, source, loop)
    why += about_masks
    stride = choosing.stride(config, source)
    if steps < stride:
        raise ConfigError(f"steps={steps} is less than one round of {stride} environment steps")
    if remainder := steps % stride:
        say_line(f"steps: {steps:,} -> {steps - remainder:,}, a multiple of {stride:,}, one round of {config.name}")
        steps -= remainder
    if given is None:
        by_episode = episodes is not None
        engine = choosing.make_loop(config, source, kind, steps, vmap, n_seeds=len(seed_list), episodes=by_episode)
    else:
        engine = network_data.make_loop(config, source, kind, steps, given, vmap, n_seeds=len(seed_list))
        about = DataCard(source=name_of(data), steps=given.steps, sha256=given.sha256())
        options = replace(options, data=about)
        why = f"learning from {given.steps:,} steps of {about.source}, evaluated in the world"
    run = Run(source.name, config, steps, seed_list, kind, env_kwargs, History(seed_list), options)
    if folder is not None:
        run.folder = folder
        if if_exists == "resume" and is_taken(folder):
            saved = read_same(run, folder)
            if saved.scores:
                say_line(f"the run in {folder} has ended and is loaded as it is")
                return saved
            if (folder / checkpoint.MANIFEST).is_file():
                changes = changed_options(run, saved)
                return resume(folder, world, env_kwargs=env_kwargs, data=data, progress=progress, say=say, **changes)
            say_line(f"the run in {folder} stopped before its first checkpoint; it starts again")
        if if_exists in ("resume", "replace") and is_taken(folder):
            remove_run(folder)
        if if_exists == "number" and is_taken(folder):
            run.folder = numbered(folder)
        saved_runs.open_folder(run)
    how = f", {kind} loop" if given is None else ""
    say_line(f"{config.name} on {source.name}: {steps:,} {run.unit} x {counted(len(seed_list), 'seed')}{how} ({why})")
    for idle in asked_for.idle(None if isinstance(agent, AgentConfig) else hyper_parameters):
        remark(idle)
    if source.reward_wrappers and kind == "host":
        remark(
            f"rewards pass through {', '.join(source.reward_wrappers)}: returns and scores are in its rewards, not in "
            "the environment's own; reward_scale and reward_clip change what is learned from and leave scores alone"
        )
    for note in source.notes:
        if note not in why:
            say_line(note)
    if given is None and steps <= getattr(config, "learning_starts", -1):
        say_line(f"nothing will be learned: learning_starts={config.learning_starts} is not below steps={steps}")
    return _go(Trainer(run, source, engine), progress, say_line)


def resume(
    folder: str | os.PathLike[str],
    world: Any = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    data: Any = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Run:
    """Resume a stopped run from its last checkpoint and finish it, with its original options.

    A compiled run ends in the same bits as if it had not been stopped. A Gymnasium environment cannot be put back into
    the middle of an episode, so there a run goes on with new episodes, of a seed that training has not used.

    Args:
        folder: of the run.
        world: needed where the run was given an object and not a name, or a name that imports a module.
        env_kwargs: merged over the saved ones, and saved in their place; a saved one that imports, writes or opens a
            window is needed again.
        data: needed where they were not a file, or are now in another place.
        progress: as for `train`.
        say: called with each line for people, also with what differs from before.
        **options: of `train`, in place of the saved ones: eval_episodes, final_episodes, keep_experience, workers,
            env_timeout, env_restarts, on_nonfinite and strict. The others cannot change.

    Raises:
        ConfigError: there is no run in `folder`, it has ended, or it has no checkpoint yet; its data are others now; or
            an option cannot change, or not to this.
        CorruptCheckpoint, IncompatibleCheckpoint: the checkpoint is damaged, or is of another agent or world.
        UnsafeFile: only the file asks for something that imports a module, writes files or opens a window.
    """
    say_line, _ = voices(say)
    run = saved_runs.load(folder)
    path = path_of("folder", folder)
    if run.scores:
        raise ConfigError(f"the run in {path} has ended at step {run.steps:,}; there is nothing to resume")
    if not (path / checkpoint.MANIFEST).is_file():
        raise ConfigError(f"the run in {path} stopped before its first checkpoint; train it again")
    for name in ("policies", "checkpoint", "experience"):
        storage.refuse_link(path / name)
    changed, differing = change_options(run.options, options)
    check_kept(run.config, changed.keep_experience, offline_run=run.options.data is not None)
    remarks: list[str] = []
    source = find_saved_world(
        world, env_kwargs, run.world, run.env_kwargs, handling=changed.handling, say=remarks.append
    )
    if changed.handling != Handling():
        check_handled(source, run.loop)
    source, _ = as_asked(run.config, source, run.loop)
    run.options = changed
    elsewhere = source.name == run.world and written(source.arguments) != written(run.env_kwargs)
    if elsewhere:
        check_saved(source.arguments)
        run.env_kwargs = dict(source.arguments)
    step, groups = checkpoint.load(path)
    check_step(step, run.steps, groups)
    run.drop_after(step)
    ended = step == run.steps and not groups  # all is learnt, and what is left is to evaluate
    if ended:
        check_ended(run, differing)
        saved_runs.read_experience(run)
    engine = None if ended else _engine(run, source, data)
    exact = run.loop == "compiled" or run.options.data is not None
    note = "" if exact else "; its Gymnasium environments start new episodes, so not bit for bit"
    say_line(f"{run.config.name} on {run.world}: resumed at step {step:,} of {run.steps:,}{note}")
    for remark in remarks + ([f"options differ from before: {', '.join(differing)}"] if differing else []):
        say_line(remark)
    if differing or elsewhere:
        saved_runs.write_config(run)
    return _go(Trainer(run, source, engine, step, groups), progress, say_line)


def check_ended(run: Run, differing: Sequence[str]) -> None:
    """Refuse to resume a run after its last step where its policies are missing, or were to be others.

    Raises:
        CorruptCheckpoint: they do not reach its last step.
        ConfigError: an option would have mattered before.
    """
    if not run.policies or run.history.step[-1:] != [run.steps]:
        raise CorruptCheckpoint(f"{run.folder}: the checkpoint says that all is learned, the history does not")
    if late := [line for line in differing if line.startswith("keep_experience=True")]:
        raise ConfigError(f"{late[0]}: too late, the run has learned to its end and its replay buffer is gone")


def _engine(run: Run, source: Source, data: Any) -> Loop:
    """The loop of a run that is resumed."""
    about = run.options.data
    if about is None:
        if data is not None:
            raise ConfigError("the run did not learn from data: leave data out")
        return choosing.make_loop(
            run.config, source, run.loop, run.steps, run.options.vmap, n_seeds=len(run.seeds),
            episodes=run.options.episodes is not None,
        )  # fmt: skip
    where = about.source if data is None else data
    given = read_data(where)
    if given.sha256() != about.sha256:
        raise ConfigError(
            f"data {name_of(where)!r} ({given.steps:,} steps) are not those that the run began with "
            f"({about.steps:,} steps); give them as data"
        )
    config = network_data.prepare(run.config, source, given)  # the same again, or what a world given anew does not fit
    return network_data.make_loop(config, source, run.loop, run.steps, given, run.options.vmap, n_seeds=len(run.seeds))


def _go(trainer: Trainer, progress: bool | None, say: Callable[[str], None]) -> Run:
    """Run to the end; if it stops before, say where things are."""
    run = trainer.run
    try:
        trainer.go(progress)
    except (BellmaxError, KeyboardInterrupt):
        if run.folder is not None and run.policies:
            say(f"stopped; what was learned before is saved in {run.folder}")
            if (run.folder / checkpoint.MANIFEST).is_file():
                say(f"next: bellmax resume {shlex.quote(str(run.folder))}{typed_again(run.world, run.env_kwargs)}")
        raise
    return run
