"""Plain Python. The command line: reads words, calls the library, prints. Heavy modules load when a verb runs."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bellmax import __version__
from bellmax.types import BellmaxError, ConfigError


def one_line(error: Exception) -> str:
    """The error's message, also where an environment wrote it over several lines."""
    return " ".join(str(error).split())


class Main(click.Group):
    """Turns every failure into one line and an exit code; `--debug` before the verb keeps the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else ctx.command_path
            click.echo(f"error: {error.format_message()} See `{where} --help`", err=True)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as interrupt:
            click.echo("interrupted", err=True)
            ctx.exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))  # as shells expect
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except BellmaxError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {one_line(error)}", err=True)
            ctx.exit(error.exit_code)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: a fault of bellmax itself: {type(error).__name__}: {one_line(error)}; "
                       "`bellmax --debug ...` shows where, please report it", err=True)  # fmt: skip
            ctx.exit(1)


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
    """  # noqa: D301 - \b is click's mark for a block kept as it is
    del debug


def _as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def _env_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--env",
        "env",
        multiple=True,
        metavar="KEY=VALUE",
        help="Argument of the world, e.g. is_slippery=false.",
    )(function)


def say_json(value: Any) -> None:
    """One JSON object, with null for NaN, which JSON does not have."""
    from bellmax.training.storage import finite

    click.echo(json.dumps(finite(value)))


def read_pairs(words: tuple[str, ...], what: str) -> dict[str, str]:
    """{"key": "value"} of words like key=value.

    Raises:
        ConfigError: a word has no = or no key.
    """
    wrong = [word for word in words if not word.partition("=")[0] or "=" not in word]
    if wrong:
        raise ConfigError(f"{what} {wrong[0]!r} is not of the form key=value")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def read_env(words: tuple[str, ...]) -> dict[str, Any]:
    """The world's arguments, each value read as JSON if it is JSON, else as a string."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {key: value(text) for key, text in read_pairs(words, "--env").items()}


class TrainCommand(click.Command):
    """Lists the agents and their hyper-parameters under the help of `train`; those of `--agent NAME` if given."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list."""
        del ctx
        from bellmax.catalog import AGENTS, agent_class
        from bellmax.config import describe

        words = dict(zip(sys.argv, sys.argv[1:], strict=False))
        name = words.get("--agent", words.get("-a", ""))
        if name in AGENTS:
            with formatter.section(f"Hyper-parameters of {name}"):
                rows = [(f"{key}={default}", text) for key, default, text in describe(agent_class(name))]
                formatter.write_dl(rows)
        else:
            with formatter.section("Agents"):
                formatter.write_text(", ".join(AGENTS) + "; `bellmax train --agent NAME --help` lists its settings.")
        with formatter.section("Example"):
            formatter.write_text("bellmax train CartPole-v1 --agent dqn --seeds 5 learning_rate=0.0005 double=true")
            formatter.write_text("bellmax train cliff --agent sarsa --seeds 100 learning_rate=0.5 gamma=1")


@main.command(cls=TrainCommand, options_metavar="[OPTIONS]")
@click.argument("world")
@click.argument("hyper_parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--agent", "-a", required=False, default="dqn", show_default=True, help="Name of the agent.")
@click.option(
    "--steps", default=100_000, show_default=True, help="Environment steps per seed; with --data, gradient steps."
)
@click.option("--seeds", default=1, show_default=True, help="How many seeds.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for the run.  [default: runs/WORLD-AGENT]")
@click.option("--loop", default="auto", show_default=True, help="compiled, host (through Gymnasium), or auto.")
@click.option("--data", help="Learn from this alone: a run that kept its experience, a data file, or minari:NAME.")
@click.option("--keep-experience", is_flag=True, help="Save the replay memory of each seed at the end, for --data.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@_env_option
@_as_json
def train(
    world: str, hyper_parameters: tuple[str, ...], agent: str, steps: int, seeds: int, out: Path | None,
    loop: str, data: str | None, keep_experience: bool, quiet: bool, env: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Train AGENT in WORLD on several seeds, save the run, report with intervals.

    WORLD is a Gymnasium id, a world of the gallery (cliff, dyna-maze, ...), a probe (probe:delay), or a world of gymnax
    (gymnax:Breakout-MinAtar).
    """
    from bellmax.training.progress import say
    from bellmax.training.train import train as run_training

    settings: dict[str, Any] = dict(read_pairs(hyper_parameters, "hyper-parameter"))
    if misplaced := settings.keys() & inspect.signature(run_training).parameters.keys():
        raise ConfigError(f"{sorted(misplaced)[0]} is no hyper-parameter; see the options of `bellmax train --help`")
    env_kwargs = read_env(env)
    folder = out or free_folder(Path("runs"), f"{world}-{agent}")
    try:
        run = run_training(
            world, agent, steps=steps, seeds=seeds, out=folder, loop=loop, env_kwargs=env_kwargs, data=data,
            keep_experience=keep_experience, progress=not quiet, say=say, **settings,
        )  # fmt: skip
    except BellmaxError:
        if out is None:
            with contextlib.suppress(OSError):
                folder.rmdir()  # of a run that never began
        raise
    show(run, as_json)


def show(run: Any, as_json: bool) -> None:
    """The result of a run."""
    if as_json:
        say_json({"folder": str(run.folder), "scores": run.scores, **numbers(run)})
        return
    from bellmax.report.text import describe_run

    click.echo(describe_run(run))


def free_folder(base: Path, name: str) -> Path:
    """Make `base`/`name`, or with the first free number behind it; slashes and colons become dashes.

    It is made here, so that of two runs that start together each has its own.
    """
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    for k in itertools.count(1):
        folder = base / (name if k == 1 else f"{name}-{k}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot make a folder in {base}: {error.strerror}; give --out") from error
        break
    return folder


def numbers(run: Any) -> dict[str, Any]:
    """The summary of a run, for machines; with an exact answer also its last columns, and when it was found."""
    summary = {k: v for k, v in run.summary()._asdict().items() if k != "scores"}
    last = {name: run.history[name][:, -1].tolist() for name in run.history.columns if name.startswith("exact/")}
    if last:
        found = run.steps_to_optimal()
        last["steps_to_optimal"] = {**found._asdict(), "steps": found.steps.tolist()}
    return {"loop": run.loop, "summary": summary, **last}


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", help="The data that it learns from, where they are in another place now.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@_as_json
def resume(folder: Path, data: str | None, quiet: bool, as_json: bool) -> None:
    """Go on with a run that was stopped, to its end.

    Example: bellmax resume runs/CartPole-v1-dqn
    """
    from bellmax.training.progress import say
    from bellmax.training.train import resume as resume_training

    show(resume_training(folder, data=data, progress=not quiet, say=say), as_json)


@main.command("eval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--episodes", default=100, show_default=True, help="Greedy episodes per seed.")
@click.option("--seed", default=1, show_default=True, help="Seed of the evaluation.")
@click.option("--which", default="final", show_default=True, help="final or best policy.")
@click.option("--world", help="Another world than the one trained in.")
@_env_option
@_as_json
def evaluate(
    folder: Path, episodes: int, seed: int, which: str, world: str | None, env: tuple[str, ...], as_json: bool
) -> None:
    """Play the policies of a run greedily in Gymnasium's own world and report all returns.

    Example: bellmax eval runs/CartPole-v1-dqn --episodes 100
    """
    import numpy as np

    from bellmax.statistics import summarise
    from bellmax.training.evaluate import evaluate as play
    from bellmax.training.saving import load

    run = load(folder)
    kwargs = read_env(env) or (run.env_kwargs if world is None else {})
    results = [
        play(run.policy(s, which), world, episodes=episodes, seed=seed + i, env_kwargs=kwargs)
        for i, s in enumerate(run.seeds)
    ]
    summary = summarise(np.array([result.returns.mean() for result in results]))
    if as_json:
        returns = {str(s): result.returns.tolist() for s, result in zip(run.seeds, results, strict=True)}
        say_json({"summary": {**summary._asdict(), "scores": summary.scores.tolist()}, "returns": returns})
        return
    from bellmax.report.text import describe_evaluation

    click.echo(describe_evaluation(run, which, results, summary))


@main.command()
@click.argument("world")
@click.option("--gamma", type=float, help="Discount factor; 1 for episodes that end.  [default: 0.99]")
@click.option("--method", default="auto", show_default=True, help="How, such as policy-iteration; the answer is one.")
@click.option("--tolerance", default=1e-10, show_default=True, help="Largest error of a value that is accepted.")
@click.option("--horizon", type=int, help="The best return of so many steps, undiscounted unless --gamma is given.")
@click.option("--epsilon", type=float, help="The best policy that must explore: any action with this probability.")
@click.option("--average", is_flag=True, help="The best reward per step in the long run.")
@_env_option
@_as_json
def solve(world: str, env: tuple[str, ...], as_json: bool, **question: Any) -> None:
    """Solve a finite world exactly, with a proven bound on the error.

    Example: bellmax solve FrozenLake-v1 --gamma 0.99 --json
    """
    from bellmax.report.solving import answer
    from bellmax.training.worlds import find_world

    source = find_world(world, read_env(env))
    if source.mdp is None:
        raise ConfigError(f"{source.name} has no transition table, so there is no exact answer; train an agent instead")
    result, arrays, words = answer(source.mdp, source.name, **question)
    if as_json:
        say_json({**result, **{name: array.tolist() for name, array in arrays.items()}})
    else:
        click.echo(words())


@main.command()
@_as_json
def doctor(as_json: bool) -> None:
    """Say what this installation has and whether its compilers work.

    Example: bellmax doctor
    """
    from bellmax.doctor import examine

    findings, good = examine()
    if as_json:
        say_json(findings)
    else:
        width = max(map(len, findings))
        for name, value in findings.items():
            click.echo(f"{name:<{width}}  {value}")
    if not good:
        raise click.exceptions.Exit(1)
