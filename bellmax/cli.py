"""Plain Python. The command line: reads words, calls the library, prints. Heavy modules load when a verb runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bellmax.catalog import is_agent
from bellmax.cli_answers import check_env, doctor, solve
from bellmax.cli_views import compare_runs, explain_run, open_playground, report, show_values, watch
from bellmax.command import (
    RECORDS,
    SEEDS,
    WHOLE,
    Main,
    TrainCommand,
    as_json_option,
    env_option,
    folder_name,
    import_from_here,
    read_env,
    read_wrapper,
    say_json,
)
from bellmax.contracts import ConfigError
from bellmax.printing import plain
from bellmax.values import read_pairs
from bellmax.version import __version__
from bellmax.words import OPTIONS, misnamed

if TYPE_CHECKING:
    from bellmax.files.existing_folders import IfExists
    from bellmax.loops.choosing import LoopKind
    from bellmax.training.run import Run, Which


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=False)
@click.version_option(__version__, prog_name="bellmax")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Q-learning, from the table to the network.

    \b
    bellmax solve FrozenLake-v1 --gamma 0.99
    bellmax train FrozenLake-v1 --agent q-learning --steps 1000000 --seeds 10
    bellmax train CartPole-v1 --agent dqn --seeds 5
    bellmax eval runs/CartPole-v1-dqn
    bellmax watch runs/CartPole-v1-dqn
    """  # noqa: D301 - \b is click's mark for a block kept as it is
    del debug


@main.command(cls=TrainCommand, options_metavar="[OPTIONS]")
@click.argument("world", metavar="ENV")
@click.argument("hyper_parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--agent", "-a", required=False, default="dqn", show_default=True, help="Name of the agent, or MODULE:CLASS."
)
@click.option(
    "--steps", type=WHOLE, help="Environment steps per seed, or gradient steps with --data.  [default: 100000]"
)
@click.option("--episodes", type=WHOLE, help="Episodes per seed, not steps; only for tabular agents.")
@click.option("--seeds", type=SEEDS, default=1, show_default=True, help="Number of seeds, or a list: 5, or 0,5,7.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run.  [default: runs/ENV-AGENT]")
@click.option("--if-exists", metavar="WORD", help="If the folder exists: error, number, resume or replace.")
@click.option("--loop", default="auto", show_default=True, help="compiled, host (steps through Gymnasium) or auto.")
@click.option(
    "--data", help="Learn only from this data set: a run with --keep-experience, a data file, or minari:NAME."
)
@click.option(
    "--records",
    type=RECORDS,
    default=20,
    show_default=True,
    help="How many times to log and evaluate, or at which steps: 20, or 100,200,1000.",
)
@click.option(
    "--record-spacing",
    default="even",
    show_default=True,
    help="even, log (dense at first), or episodes (after each, with --episodes).",
)
@click.option("--keep-policies", is_flag=True, help="Store the policy of each seed at every record.")
@click.option(
    "--eval-episodes", type=WHOLE, default=10, show_default=True, help="Greedy episodes per seed at each record."
)
@click.option(
    "--final-episodes",
    type=WHOLE,
    default=100,
    show_default=True,
    help="Greedy episodes per seed at the end, for the score.",
)
@click.option("--keep-experience", is_flag=True, help="Store the replay buffer of each seed at the end, for --data.")
@click.option(
    "--keep-checkpoints", type=WHOLE, default=2, show_default=True, help="Checkpoints in the folder, the newest ones."
)
@click.option(
    "--save-replay-every", type=float, help="Seconds between saves of the replay buffer.  [default: each save]"
)
@click.option(
    "--wrapper",
    "wrappers",
    multiple=True,
    metavar="NAME",
    help="Name of a Gymnasium wrapper, or MODULE:CLASS; repeat for more.",
)
@click.option("--workers", type=WHOLE, default=0, help="Processes per seed that step environments.  [default: 0]")
@click.option(
    "--env-timeout",
    default=60.0,
    show_default=True,
    help="Seconds after which a worker that does not answer is stopped.",
)
@click.option(
    "--env-restarts", type=WHOLE, default=0, help="How many times a failed environment is recreated.  [default: 0]"
)
@click.option(
    "--on-nonfinite",
    default="raise",
    show_default=True,
    help="If the environment returns NaN or infinity: raise, truncate_episode or skip.",
)
@click.option("--strict", is_flag=True, help="Stop if an observation is outside its space.")
@click.option("--show-settings", is_flag=True, help="Show every setting and where it comes from; do not train.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@env_option
@as_json_option
def train(
    world: str, hyper_parameters: tuple[str, ...], agent: str, steps: int | None, episodes: int | None,
    seeds: int | list[int],
    out: Path | None, if_exists: IfExists | None, loop: LoopKind, quiet: bool, env: tuple[str, ...], as_json: bool,
    show_settings: bool, **options: Any,
) -> None:  # fmt: skip
    """Train an agent in ENV on several seeds, save the run and report confidence intervals.

    ENV is a Gymnasium id, a name of the gallery (cliff, dyna-maze, ...), a probe (probe:delay), one of gymnax
    (gymnax:Breakout-MinAtar), or your own: MODULE:CLASS or MODULE:FUNCTION.
    """
    from bellmax.stderr import say
    from bellmax.training.train import train as run_training

    for word in hyper_parameters:
        if "=" not in word and is_agent(word):
            raise ConfigError(f"{word!r} is an agent, not of the form key=value; did you mean --agent {word}?")
    settings: dict[str, Any] = dict(read_pairs(hyper_parameters, "hyper-parameter"))
    if misplaced := settings.keys() & OPTIONS.keys():
        raise ConfigError("; ".join(misnamed(name, settings[name], ()) for name in sorted(misplaced)))
    env_kwargs = read_env(env)
    options["wrappers"] = [read_wrapper(text) for text in options["wrappers"]]
    import_from_here(world, agent, str(options["wrappers"]), str(env_kwargs.get("wrappers")), str(settings))
    if show_settings:
        from bellmax.report.settings import explain_settings

        with_data = options["data"] is not None
        click.echo(plain(explain_settings(agent, world, env_kwargs, settings, as_json=as_json, from_data=with_data)))
        return
    run = run_training(
        world, agent, steps=steps, episodes=episodes, seeds=seeds, out=out or folder_name(world, agent),
        if_exists=if_exists or ("error" if out else "number"), loop=loop, env_kwargs=env_kwargs, progress=not quiet,
        say=say, **options, **settings,
    )  # fmt: skip
    print_run(run, as_json)


def silent(text: str) -> None:
    """Say nothing: what differs from training is the same for all seeds."""


def print_run(run: Run, as_json: bool) -> None:
    """The result of a run."""
    from bellmax.files.provenance import inexact

    if as_json:
        verdict = dataclasses.asdict(run.verdict())
        say_json({
            "folder": str(run.folder), "scores": run.scores, **numbers(run), "verdict": verdict,
            "stopped": run.stopped._asdict() if run.stopped else None,
            "inexact": inexact(run.environment),
        })  # fmt: skip
        return
    from bellmax.report.text import describe_run

    click.echo(describe_run(run))
    click.echo(plain(run.verdict()))


def numbers(run: Run) -> dict[str, Any]:
    """The summary of a run, for machines; with an exact answer also its last columns, and when it was found."""
    summary = {k: v for k, v in run.summary()._asdict().items() if k != "scores"}
    last = {name: run.history[name][:, -1].tolist() for name in run.history.columns if name.startswith("exact/")}
    if last:
        found = run.steps_to_optimal()
        last["steps_to_optimal"] = {**found._asdict(), "steps": found.steps.tolist()}
    return {"loop": run.loop, "summary": summary, **last}


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "step", type=WHOLE, help="Resume from the checkpoint of this step, and from no other.")
@click.option("--data", help="The data set, if it is in another place now.")
@click.option("--eval-episodes", type=WHOLE, help="Greedy episodes per seed at each record.")
@click.option("--final-episodes", type=WHOLE, help="Greedy episodes per seed at the end, for the score.")
@click.option("--keep-experience/--drop-experience", default=None, help="Store the replay buffer at the end, or not.")
@click.option("--keep-checkpoints", type=WHOLE, help="Checkpoints in the folder, the newest ones.")
@click.option("--save-replay-every", type=float, help="Seconds between saves of the replay buffer.")
@click.option("--workers", type=WHOLE, help="Processes per seed that step environments.")
@click.option("--env-timeout", type=float, help="Seconds after which a worker that does not answer is stopped.")
@click.option("--env-restarts", type=WHOLE, help="How many times a failed environment is recreated.")
@click.option("--on-nonfinite", help="If the environment returns NaN or infinity: raise, truncate_episode or skip.")
@click.option("--strict/--lenient", default=None, help="Stop if an observation is outside its space, or not.")
@click.option("--world", help="The environment again, if it is MODULE:NAME; a saved file never imports code.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@env_option
@as_json_option
def resume(
    folder: Path, data: str | None, world: str | None, quiet: bool, env: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Resume a stopped run and finish it, with its original options or with those given here.

    Example: bellmax resume runs/CartPole-v1-dqn
    """
    from bellmax.stderr import say
    from bellmax.training.resume import resume as resume_training

    kwargs = read_env(env) or None
    import_from_here(world or "", str((kwargs or {}).get("wrappers", "")))
    given = {name: value for name, value in options.items() if value is not None}
    run = resume_training(folder, world, env_kwargs=kwargs, data=data, progress=not quiet, say=say, **given)
    print_run(run, as_json)


@main.command("eval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--episodes", type=WHOLE, default=100, show_default=True, help="Greedy episodes per seed.")
@click.option("--seed", type=WHOLE, default=1, show_default=True, help="Seed of the evaluation.")
@click.option("--which", default="final", show_default=True, help="final or best policy.")
@click.option("--world", help="An environment other than the one of training.")
@click.option("--quiet", is_flag=True, help="Show only the result and warnings.")
@env_option
@as_json_option
def evaluate(
    folder: Path, episodes: int, seed: int, which: Which, world: str | None, quiet: bool, env: tuple[str, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Play the policies of a run greedily in Gymnasium's own environment and report all returns.

    Example: bellmax eval runs/CartPole-v1-dqn --episodes 100
    """
    import numpy as np

    from bellmax.stderr import say
    from bellmax.summary_statistics import summarize
    from bellmax.training.evaluate import evaluate as play
    from bellmax.training.saved_runs import load

    run = load(folder)
    kwargs = read_env(env) or None
    import_from_here(world or "", str((kwargs or {}).get("wrappers", "")))
    results = [
        play(
            run.policy(s, which), world, episodes=episodes, seed=seed + i, env_kwargs=kwargs,
            say=silent if i else None if quiet else say, progress=not quiet,
        )
        for i, s in enumerate(run.seeds)
    ]  # fmt: skip
    summary = summarize(np.array([result.returns.mean() for result in results]))
    if as_json:
        returns = {str(s): result.returns.tolist() for s, result in zip(run.seeds, results, strict=True)}
        say_json({"summary": {**summary._asdict(), "scores": summary.scores.tolist()}, "returns": returns})
        return
    from bellmax.report.text import describe_evaluation

    click.echo(describe_evaluation(run, which, results, summary))


for verb in (solve, check_env, doctor, explain_run, show_values, open_playground, report, watch, compare_runs):
    main.add_command(verb)
