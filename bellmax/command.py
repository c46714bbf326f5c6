"""Plain Python. What the verbs of the command line share: how errors end, how words are read, how JSON is printed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bellmax.caching import store_compiled_programs
from bellmax.catalog import agent_name
from bellmax.contracts import BellmaxError, ConfigError, EnvWarning, Json, ModelWarning, RunWarning
from bellmax.literals import Value
from bellmax.loops.stopping import busy_threads, end_on_second_signal
from bellmax.printing import plain
from bellmax.registry import import_named
from bellmax.stderr import give_up_broken_stream, open_missing_streams, say
from bellmax.values import read_as, read_value, read_values
from bellmax.words import option_meant


def message_line(error: Exception) -> str:
    """The error's message, also where an environment wrote it over several lines."""
    return plain(" ".join(str(error).split()))


def one_line_warnings() -> None:
    """Show bellmax's own remarks as one line, and all others as Python does."""
    usual = warnings.formatwarning

    def form(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        ours = issubclass(category, EnvWarning | ModelWarning | RunWarning)
        return f"warning: {plain(message)}\n" if ours else usual(message, category, *where, **more)

    warnings.formatwarning = form


class Main(click.Group):
    """Turns every failure into one line and an exit code; `--debug` before the verb keeps the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        one_line_warnings()
        open_missing_streams()
        store_compiled_programs()
        ctx.call_on_close(give_up_broken_stream)
        try:
            with end_on_second_signal():
                return super().invoke(ctx)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else ctx.command_path
            said = error.format_message().rstrip(".")
            if isinstance(error, click.NoSuchOption) and where.endswith(" train"):
                write = option_meant(error.option_name)
                said = f"No such option {error.option_name!r}{write}" if write else said
            click.echo(f"error: {plain(said)}{'' if said.endswith('?') else '.'} See `{where} --help`", err=True)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as interrupt:
            say("interrupted")  # the terminal may be closed
            code = 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)  # as shells expect
            if busy_threads():  # in a step that does not return: nobody waits for it
                sys.stdout.flush()
                os._exit(code)
            ctx.exit(code)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except BellmaxError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {message_line(error)}", err=True)
            ctx.exit(error.exit_code)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: a bug in bellmax: {type(error).__name__}: {message_line(error)}; "
                       "`bellmax --debug ...` shows where; please report it", err=True)  # fmt: skip
            ctx.exit(1)


def as_json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def env_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options --env, and --import, whose modules are imported before the verb runs."""
    own = click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=lambda ctx, option, modules: import_own(modules),
        help="Import this module first, with your own agents, networks or environments; repeat for more.",
    )
    env = click.option(
        "--env",
        "env",
        multiple=True,
        metavar="KEY=VALUE",
        help="Argument of the environment, such as is_slippery=false; repeat for more.",
    )
    return env(own(function))


def say_json(value: Json) -> None:
    """One JSON object, with null for NaN, which JSON does not have."""
    from bellmax.files.storage import finite

    click.echo(json.dumps(finite(value)))


def import_own(modules: tuple[str, ...]) -> None:
    """Import modules by name, also from the current folder.

    Raises:
        ConfigError: one cannot be imported.
    """
    for module in modules:
        import_from_here(f"{module}:it")
        import_named(module, f"--import {module}", "; give the name of a module, such as mymodule")


def import_from_here(*words: str) -> None:
    """Let `module:name` in words of the command line be found in the current folder, after everything installed.

    Only where such a word was typed: what a file names must not make a module of the current folder importable.
    """
    here = os.getcwd()
    named = any(re.search(r"\w:\w", word) and not word.startswith(("probe:", "gymnax:")) for word in words)
    if named and here not in sys.path:
        sys.path.append(here)


def folder_name(world: str, agent: str) -> Path:
    """runs/ENV-AGENT, where slashes and colons become dashes."""
    name = f"{world}-{agent_name(agent)}"
    return Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def read_whole(text: str) -> object:
    """A whole number as people write them: 5, 100_000, 1e5."""
    try:
        return read_as(text, int)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a valid integer; {error}") from error


def read_seeds(text: object) -> object:
    """How many seeds, or a list of them: 5, or 0,5,7."""
    return _several(text, "seeds")


def read_records(text: object) -> object:
    """How many records, or a list of their steps: 20, or 100,200,1000."""
    return _several(text, "records")


def _several(text: object, what: str) -> object:
    if not isinstance(text, str):  # the default
        return text
    try:
        listed = read_as(text, tuple[int, ...])
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number of {what} or a list such as 5,7,10; {error}") from error
    assert isinstance(listed, tuple)  # noqa: S101 - as text of several numbers always is
    return listed[0] if len(listed) == 1 and text.strip()[0] not in "[(" else list(listed)


WHOLE = click.types.FuncParamType(read_whole)
SEEDS, RECORDS = click.types.FuncParamType(read_seeds), click.types.FuncParamType(read_records)
WHOLE.name = SEEDS.name = RECORDS.name = "integer"  # what the help calls it


def read_env(words: tuple[str, ...]) -> dict[str, Any]:
    """The environment's arguments."""
    return read_values(words, "--env")


def read_wrapper(text: str) -> Value:
    """A wrapper's name, or {"name": ..., arguments}."""
    try:
        return read_value(text)
    except ValueError as error:
        raise ConfigError(f"--wrapper {text}: {error}") from error


class TrainCommand(click.Command):
    """Lists the agents and their hyper-parameters under the help of `train`; those of `--agent NAME` if given."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list."""
        del ctx
        from bellmax.agent_config import grouped
        from bellmax.catalog import AGENTS, agent_class, agent_name, is_agent

        words = dict(zip(sys.argv, sys.argv[1:], strict=False))
        name = words.get("--agent", words.get("-a", ""))
        if is_agent(name) or re.fullmatch(r"[\w.]+:[\w.]+", name):
            import_from_here(name)
            name = agent_name(name)
            with formatter.section(f"Hyper-parameters of {name}"):
                for group, settings in grouped(agent_class(name)).items():
                    with formatter.section(group):
                        formatter.write_dl([(f"{key}={default}", text) for key, default, text in settings])
        else:
            with formatter.section("Agents"):
                formatter.write_text(", ".join(AGENTS) + "; `bellmax train --agent NAME --help` lists its settings.")
        with formatter.section("Example"):
            formatter.write_text("bellmax train CartPole-v1 --agent dqn --seeds 5 learning_rate=0.0005 double=true")
            formatter.write_text("bellmax train cliff --agent sarsa --seeds 100 learning_rate=0.5 gamma=1")
