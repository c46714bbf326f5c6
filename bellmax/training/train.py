"""NumPy. `train`: train N seeds of one agent in one environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Never

from bellmax.agent_config import AgentConfig
from bellmax.arguments import check_call, check_flag
from bellmax.catalog import shared_name
from bellmax.contracts import counted
from bellmax.envs.host_steps import NonFinite
from bellmax.files.existing_folders import IfExists, claimed, is_taken, remove_run
from bellmax.files.world_traits import traits_of
from bellmax.loops import choosing
from bellmax.loops.choosing import LoopKind
from bellmax.loops.loop import Loop
from bellmax.stderr import voices
from bellmax.training import saved_runs
from bellmax.training.history import History
from bellmax.training.kept_policies import check_room_for_kept
from bellmax.training.options import RunOptions, Spacing
from bellmax.training.progress import compiling_shown
from bellmax.training.record_hooks import OnRecord, hook_names
from bellmax.training.request import Request, RunPlan, check, choose
from bellmax.training.resume import finish, go_on
from bellmax.training.run import Run
from bellmax.training.same_run import changed_options, read_same
from bellmax.training.trainer import Trainer


def train(
    world: object,
    agent: str | type[AgentConfig] | AgentConfig,
    *misplaced: Never,
    steps: int | None = None,
    episodes: int | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | os.PathLike[str] | None = None,
    if_exists: IfExists = "error",
    loop: LoopKind = "auto",
    env_kwargs: Mapping[str, Any] | None = None,
    records: int | Sequence[int] = 20,
    record_spacing: Spacing = "even",
    keep_policies: bool = False,
    on_record: OnRecord | Sequence[OnRecord] | None = None,
    eval_episodes: int = 10,
    final_episodes: int = 100,
    keep_episodes: int = 2_000_000,
    data: object = None,
    keep_experience: bool = False,
    keep_checkpoints: int = 2,
    save_replay_every: float | None = None,
    wrappers: Sequence[object] = (),
    workers: int = 0,
    env_timeout: float = 60.0,
    env_restarts: int = 0,
    on_nonfinite: NonFinite = "raise",
    strict: bool = False,
    vmap: int | None = None,
    options: RunOptions | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **hyper_parameters: object,
) -> Run:
    """Train `agent` in `world` for `steps` environment steps on each seed.

    Args:
        world: a Gymnasium id, a name from the gallery, a FiniteMDP, a compiled World, an environment or its factory.
        agent: a name such as "dqn" in any case and spelling, a class such as `DQN`, or a config such as
            `DQN(double=True)`, which is used unchanged: without the settings that suit a known environment.
        *misplaced: an error, which says what to write.
        steps: environment steps per seed, by default 100,000, rounded down to whole rounds of the agent.
        episodes: episodes per seed instead of steps, for agents with a table. Records and schedules then count
            episodes; seeds end at different steps.
        seeds: how many (0, 1, ...), or which.
        out: folder for the run's files. None saves nothing.
        if_exists: what to do if `out` exists: "error"; "number": use the first free name of out-2, out-3, ...;
            "resume": finish the run in it, which must be the same; "replace": remove that run's own files first.
        loop: "compiled", "host" (through Gymnasium), or "auto": compiled if possible.
        env_kwargs: keyword arguments of an environment given by name.
        records: how many times to log and evaluate during the run, or a list of the steps at which to do it; there is
            always a record at the end, and one in a million steps.
        record_spacing: "even"; "log": each record a constant factor later than the one before, so that the first steps
            are seen; or "episodes": after each of the run's `episodes`.
        keep_policies: store the policy of each seed at every record, for `run.policy(seed, at=step)` and
            `run.policies_over_time(seed)`.
        on_record: a function that is called after each record with a `Record`, or a list of them. It may return a
            dictionary of columns for the history, with a number or one for each seed, and raise `StopTraining`.
        eval_episodes: greedy episodes per seed at each record, 0 for none; an environment with a table is evaluated
            exactly.
        final_episodes: greedy episodes per seed at the end, 0 for none.
        keep_episodes: how many training episodes to store in `run.episodes`: the first ones of each seed, an equal
            number for each; 16 bytes each.
        data: learn from this data set, and use the environment only to evaluate; `steps` are then gradient steps. A
            Dataset, its file, the folder of a run with `keep_experience`, or "minari:NAME".
        keep_experience: store the content of the replay buffer of each seed at the end, as `run.experience` and in the
            run's folder, from which `data` reads it; rewards are as learned from, scaled and clipped.
        keep_checkpoints: how many of the newest checkpoints the run's folder has until the run ends; if the newest is
            damaged, `resume` uses the one before.
        save_replay_every: seconds between saves of the replay buffer, for one that takes long; None: it is in every
            checkpoint. After a crash, the run then resumes with an older replay buffer, and not bit for bit.
        wrappers: of the environment, the innermost first: names from Gymnasium, such as "FlattenObservation",
            {"name": "FrameStackObservation", "stack_size": 4} with arguments, or "module:Class" of any other.
        workers: processes that step the environments of a seed side by side; 0: in this process.
        env_timeout: seconds after which a worker that does not answer is stopped.
        env_restarts: how many environments in total may be recreated after they raised, died or hung; their incomplete
            episodes are left out.
        on_nonfinite: what to do at a NaN or an infinity from the environment: "raise" stops the run, "truncate_episode"
            ends the episode before that step, "skip" leaves the step out.
        strict: stop also at an observation outside its Box; by default that is a warning.
        vmap: seeds stacked in one program; by default 1 on a CPU and all on an accelerator. The last bits of a seed
            depend on the size of its stack.
        options: `RunOptions(records=5, workers=4)`, or those of another run, instead of the keywords of these names. A
            keyword can change a field that has its default there; a keyword at its own default changes nothing.
        progress: show it; by default in a terminal and in a notebook.
        say: called with each line of output; without it, settings that have no effect are a `RunWarning`.
        **hyper_parameters: of an agent given by name.

    Raises:
        ConfigError: arguments are unknown, out of range or incompatible; one message reports all of them, before the
            first step.
        RunLocked: a living run uses the folder `out`.
        EnvContractError, EnvCrashed, NonFiniteError: the environment failed; everything learned before is saved.
    """
    check_call(train, "steps", misplaced, {}, {}, "two arguments without a name, the environment and the agent")
    say_line, remark = voices(say)
    check_flag("progress", progress)
    keywords = {
        "records": records, "record_spacing": record_spacing, "keep_policies": keep_policies,
        "eval_episodes": eval_episodes, "final_episodes": final_episodes,
        "keep_episodes": keep_episodes, "keep_experience": keep_experience, "keep_checkpoints": keep_checkpoints,
        "save_replay_every": save_replay_every, "vmap": vmap, "workers": workers, "env_timeout": env_timeout,
        "env_restarts": env_restarts, "on_nonfinite": on_nonfinite, "strict": strict,
    }  # fmt: skip
    request = Request(
        world, agent, steps, episodes, seeds, out, if_exists, loop, env_kwargs, wrappers, data, options, on_record,
        keywords, hyper_parameters,
    )  # fmt: skip
    with compiling_shown(progress):
        plan = choose(check(request), say_line)
        return start(plan, if_exists, world, data, progress, say_line, remark)


def start(
    plan: RunPlan, if_exists: IfExists, world: object, data: object, progress: bool | None,
    say_line: Callable[[str], None], remark: Callable[[str], None],
) -> Run:  # fmt: skip
    """Do what was planned, in the run's folder if it has one; `world` and `data` are as given to `train`."""
    engine = loop_to_start(plan)
    run = Run(
        plan.source.name, plan.config, plan.steps, plan.seeds, plan.kind, plan.env_kwargs, History(plan.seeds),
        plan.options,
    )  # fmt: skip
    run.on_record = hook_names(plan.hooks)
    if plan.folder is None:
        announce(plan, run, say_line, remark)
        return finish(Trainer(run, plan.source, engine, hooks=plan.hooks), progress, say_line)
    run._traits = traits_of(plan.source)
    with claimed(plan.folder, if_exists) as folder:
        run.folder = folder
        if if_exists == "resume" and is_taken(folder):
            saved = read_same(run, folder)
            return finish_saved(run, saved, folder, world, data, progress, say_line, plan.hooks)
        if is_taken(folder):
            remove_run(folder)
        saved_runs.begin_folder(run)
        announce(plan, run, say_line, remark)
        return finish(Trainer(run, plan.source, engine, hooks=plan.hooks), progress, say_line)


def finish_saved(
    run: Run, saved: Run, folder: Path, world: object, data: object, progress: bool | None,
    say_line: Callable[[str], None], hooks: Sequence[OnRecord] = (),
) -> Run:  # fmt: skip
    """Resume the `saved` run in a folder with the options of `run`, which is the same; if it has ended, return it."""
    if saved.scores:
        say_line(f"the run in {folder} has ended and is loaded")
        return saved
    options = changed_options(run, saved)
    return go_on(folder, world, run.env_kwargs, data, progress, say_line, options, hooks=hooks)


def loop_to_start(plan: RunPlan) -> Loop[Any]:
    """Return the loop of a new run.

    Raises:
        ConfigError, ResourceError: the agent cannot learn in this environment, or does not fit in memory.
    """
    parts = plan.config, plan.source, plan.kind, plan.steps
    n, options, uneven = len(plan.seeds), plan.options, plan.options.uneven
    if plan.data is not None:
        engine = choosing.make_data_loop(*parts, plan.data, options.vmap, n_seeds=n, uneven=uneven)
    else:
        by_episode = options.episodes is not None
        engine = choosing.make_loop(*parts, options.vmap, n_seeds=n, episodes=by_episode, uneven=uneven)
    space, n_actions = plan.source.space, plan.source.n_actions
    check_room_for_kept(options, plan.config, space, n_actions, n, plan.steps, engine.stride)
    return engine


def announce(plan: RunPlan, run: Run, say: Callable[[str], None], remark: Callable[[str], None]) -> None:
    """Say what is trained, and warn about settings that may be unintended."""
    config, source, offline = plan.config, plan.source, plan.data is not None
    how = "" if offline else f", {plan.kind} loop"
    seeds = counted(len(plan.seeds), "seed")
    say(f"{config.name} on {source.name}: {plan.steps:,} {run.unit} x {seeds}{how} ({plan.why})")
    if run.folder is not None and (every := plan.options.save_replay_every):
        say(
            f"the replay buffer is saved every {every:g} s, and when the run stops; after a crash, the run resumes "
            "with the last one that was saved, so not bit for bit"
        )
    if shared := shared_name(type(config)):
        remark(shared)
    for idle in plan.without_effect:
        remark(idle)
    if source.reward_wrappers and plan.kind == "host":
        remark(
            f"{', '.join(source.reward_wrappers)} changes the rewards: returns and scores are in these rewards, not in "
            "the environment's own; reward_scale and reward_clip change only the rewards that the agent learns from"
        )
    for note in source.notes:
        if note not in plan.why:
            say(note)
    begin = getattr(config, "learning_starts", -1)
    if not offline and plan.steps <= begin:
        say(f"nothing will be learned: learning_starts={begin} is not below steps={plan.steps}")
