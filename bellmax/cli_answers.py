"""Plain Python. The verbs of the command line that answer without training: solve, check-env, doctor."""

from __future__ import annotations

from typing import Any

import click

from bellmax.command import WHOLE, as_json_option, env_option, import_from_here, read_env, say_json
from bellmax.contracts import ConfigError
from bellmax.printing import plain


@click.command()
@click.argument("world", metavar="ENV")
@click.option("--gamma", type=float, help="Discount factor; 1 for episodes that end.  [default: 0.99]")
@click.option(
    "--method", default="auto", show_default=True, help="Solver, such as policy-iteration; all give the same answer."
)
@click.option("--tolerance", default=1e-10, show_default=True, help="Largest error of a value to accept.")
@click.option(
    "--horizon", type=WHOLE, help="Maximize the return of this many steps, undiscounted unless --gamma is given."
)
@click.option("--epsilon", type=float, help="Find the best policy among those that explore with this probability.")
@click.option("--average", is_flag=True, help="Maximize the average reward per step.")
@env_option
@as_json_option
def solve(world: str, env: tuple[str, ...], as_json: bool, **question: Any) -> None:
    """Compute the exact optimal values and policy of a finite ENV, with a proven bound on the error.

    Example: bellmax solve FrozenLake-v1 --gamma 0.99 --json
    """
    from bellmax.report.solving import answer
    from bellmax.sources import find_world
    from bellmax.stderr import say

    kwargs = read_env(env)
    import_from_here(world, str(kwargs.get("wrappers", "")))
    source = find_world(world, kwargs)
    if source.mdp is None:
        why = "; ".join(source.notes) or "it has no transition table"
        raise ConfigError(f"{source.name} has no exact answer: {why}; train an agent instead")
    for note in source.notes:
        say(note)
    result, arrays, words = answer(source.mdp, source.name, **question)
    if as_json:
        say_json({**result, **{name: array.tolist() for name, array in arrays.items()}})
    else:
        click.echo(words())


@click.command("check-env")
@click.argument("world", metavar="ENV")
@click.option("--steps", type=WHOLE, default=1_000, show_default=True, help="Random steps.")
@click.option("--seed", type=WHOLE, default=0, show_default=True, help="Seed of the environment and of the actions.")
@env_option
@as_json_option
def check_env(world: str, steps: int, seed: int, env: tuple[str, ...], as_json: bool) -> None:
    """Play ENV at random and report each fault and how to fix it; the exit code is 1 if there are errors.

    Example: bellmax check-env CartPole-v1 --steps 5000
    """
    from bellmax.report.checking import check_env as check

    kwargs = read_env(env)
    import_from_here(world, str(kwargs.get("wrappers", "")))
    report = check(world, steps=steps, seed=seed, env_kwargs=kwargs)
    if as_json:
        say_json(report.to_json())
    else:
        click.echo(plain(report))
    if not report.ok:
        raise click.exceptions.Exit(1)


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Show what is installed, and whether the compilers work.

    Example: bellmax doctor
    """
    from bellmax.doctor import examine

    findings, good = examine()
    if as_json:
        say_json(findings)
    else:
        width = max(map(len, findings))
        for name, value in findings.items():
            click.echo(plain(f"{name:<{width}}  {value}"))
    if not good:
        raise click.exceptions.Exit(1)
