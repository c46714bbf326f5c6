"""Plain Python. The verbs of the command line that show something: show, explain, play, report, watch, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bellmax.command import WHOLE, as_json_option, env_option, import_from_here, read_env, say_json
from bellmax.contracts import ConfigError
from bellmax.printing import plain

if TYPE_CHECKING:
    from bellmax.pictures.picture import Picture
    from bellmax.pictures.state_numbers import What
    from bellmax.training.run import Which

DEFAULT_GAMMA = 0.99  # as of `bellmax solve`


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--at", type=WHOLE, required=True, help="The first step to record: environment steps so far.")
@click.option("--steps", type=WHOLE, default=10, show_default=True, help="Steps to record, in whole rounds.")
@click.option("--seed", type=WHOLE, help="Seed of the run.  [default: its first]")
@click.option("--json", "file", metavar="FILE", help="Write the window to this file as JSON; - prints it.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page that steps through the window.")
@click.option("--open", "open_it", is_flag=True, help="Open that page in the browser.")
@click.option("--data", help="The data set, if it is in another place now.")
@click.option("--world", help="The environment again, if it is MODULE:NAME; a saved file never imports code.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@env_option
def explain_run(
    run: Path, at: int, steps: int, seed: int | None, file: str | None, html: Path | None, open_it: bool,
    data: str | None, world: str | None, quiet: bool, env: tuple[str, ...],
) -> None:  # fmt: skip
    """Replay a few steps of RUN, a folder, and show everything that happens in them, with the equations.

    \b
    bellmax explain runs/cliff-q-learning --at 500 --steps 3
    bellmax explain runs/cliff-q-learning --at 500 --open
    """  # noqa: D301 - \b is click's mark for a block kept as it is
    from bellmax.files.storage import check_target
    from bellmax.page.explainer import write_explainer
    from bellmax.recording.explaining import explain as replay
    from bellmax.recording.recorded_text import describe_window
    from bellmax.recording.saving_windows import save_window
    from bellmax.stderr import say

    kwargs = read_env(env) or None
    import_from_here(world or "", str((kwargs or {}).get("wrappers", "")))
    if html is not None:
        check_target(html, "--html")
    if file not in (None, "-"):
        check_target(Path(file), "--json")
    window = replay(
        run, at=at, steps=steps, seed=seed, world=world, env_kwargs=kwargs, data=data, progress=not quiet, say=say
    )
    if html is not None or open_it:
        page = write_explainer([window.to_json()], html or run / "explain.html")
        click.echo(plain(page), err=file == "-")
        if open_it:
            click.launch(page.resolve().as_uri())
    if file is not None:
        save_window(window, file)
    elif html is None and not open_it:
        click.echo(plain(describe_window(window)))


@click.command("show")
@click.argument("target", metavar="RUN|ENV")
@click.option(
    "--what",
    default="value",
    show_default=True,
    help="What to show: value, policy or q; of a run also visits or error.",
)
@click.option("--seed", type=WHOLE, help="Seed of the run.  [default: its first]")
@click.option("--which", help="final or best policy of the run.  [default: final]")
@click.option("--at", type=WHOLE, help="What the run had learned at this step, with --keep-policies.")
@click.option("--gamma", type=float, help="Discount factor of the exact answer of ENV.  [default: 0.99]")
@click.option(
    "--world", help="The environment of the run, if its name is MODULE:NAME; a saved file never imports code."
)
@click.option("--svg", type=click.Path(path_type=Path), help="Write the map to this SVG file.")
@click.option("--png", type=click.Path(path_type=Path), help="Write the map to this PNG file; needs Matplotlib.")
@click.option(
    "--all", "everything", is_flag=True, help="Show all states, also where they do not fit the screen or a picture."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print all numbers of all states as CSV.")
@env_option
@as_json_option
def show_values(
    target: str, what: What, seed: int | None, which: Which | None, at: int | None, gamma: float | None,
    world: str | None, svg: Path | None, png: Path | None, everything: bool, as_csv: bool, env: tuple[str, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Show what a run learned, or the exact answer of a finite ENV, as a map with values and greedy actions.

    Environments without a map are shown as a table of states.

    Example: bellmax show FrozenLake-v1 --what q

    Example: bellmax show runs/FrozenLake-v1-q-learning --what error --svg lake.svg
    """
    from bellmax.pictures.state_numbers import numbers_as_json

    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other; give one of them")
    files = {".svg": svg, ".png": png}
    for ending, path in files.items():
        if path is not None and path.suffix.lower() != ending:
            raise ConfigError(f"--{ending[1:]} {path}: the name of the file must end in {ending}")
    kwargs = read_env(env)
    import_from_here(target, world or "", str(kwargs.get("wrappers", "")))
    if (Path(target) / "config.json").is_file():
        if gamma is not None:
            raise ConfigError("--gamma is for an environment: a run has a discount factor of its own; leave it out")
        chosen = {"seed": seed, "which": which or "final", "at": at, "world": world, "env_kwargs": kwargs or None}
        picture = _of_run(target, what, chosen, everything)
    else:
        given = {"--seed": seed, "--which": which, "--at": at, "--world": world}
        if only_of_runs := [name for name, value in given.items() if value is not None]:
            raise ConfigError(f"{only_of_runs[0]} is for the folder of a run, and {target!r} is not one; leave it out")
        picture = _of_environment(target, what, DEFAULT_GAMMA if gamma is None else gamma, kwargs, everything)
    for path in files.values():
        if path is not None:
            click.echo(f"saved {picture.save(path)}", err=as_csv or as_json)
    if as_csv:
        click.echo(picture.csv(), nl=False)
    elif as_json:
        say_json({"what": what, **numbers_as_json(picture.numbers)})
    elif not any(files.values()):
        click.echo(str(picture))


def _of_run(folder: str, what: What, chosen: dict[str, Any], everything: bool) -> Picture:
    from bellmax.report.solving import watching
    from bellmax.training.saved_runs import load

    run = load(folder)
    with watching(f"{run.world}, γ = {run.config.gamma}", 1e-10) as progress:
        return run.show(what, **chosen, everything=everything, progress=progress)


def _of_environment(name: str, what: What, gamma: float, kwargs: dict[str, object], everything: bool) -> Picture:
    from bellmax.report.solving import watching
    from bellmax.solving.solve import solve
    from bellmax.sources import find_world
    from bellmax.stderr import say
    from bellmax.training.actors import nearest_run

    meant = nearest_run(Path(name)) if "/" in name else ""
    if Path(name).is_dir() or meant:
        raise ConfigError(f"{name!r} is not the folder of a run{meant}")
    source = find_world(name, kwargs)
    if source.mdp is None:
        why = "; ".join(source.notes) or "it has no transition table"
        raise ConfigError(
            f"{source.name} has no exact answer: {why}; train an agent in it, and show the folder of its run"
        )
    for note in source.notes:
        say(note)
    with watching(f"{source.name}, γ = {gamma}", 1e-10) as progress:
        solution = solve(source.mdp, gamma, progress=progress)
    return solution.show(what, title=f"{source.name}, γ = {gamma}: exact answer", everything=everything)


@click.command("play")
@click.argument("grid", metavar="[GRID]", default="gridworld")
@click.option("--port", type=WHOLE, default=0, show_default="a free one", help="Port on this machine.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def open_playground(grid: str, port: int, no_browser: bool) -> None:
    """Open a page in which you edit a grid and agents learn in it while you watch. Ctrl-C ends it.

    GRID is a name that the page offers (corridor, gridworld, cliff, frozen-lake, four-rooms, dyna-maze, ...), a JSON
    file that the page saved, or a link (#w=...). Only this machine can reach the page, with the printed address.

    Example: bellmax play cliff --no-browser
    """
    from bellmax.playground.grid_presets import find_grid
    from bellmax.playground.server import serve_playground

    def say(address: str) -> None:
        click.echo(f"Playground: {address}")
        click.echo("Ctrl-C ends it.", err=True)

    serve_playground(find_grid(grid), port=port, browser=not no_browser, say=say)
    click.echo("The playground has ended.", err=True)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="RUN [RUN ...]", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: report.html in the first RUN]")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.option("--explain", "steps", type=WHOLE, multiple=True, metavar="STEP", help="Show what happens there; repeat.")
@click.option("--no-explain", is_flag=True, help="Show no single steps.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@as_json_option
def report(
    folders: tuple[Path, ...], out: Path | None, open_it: bool, steps: tuple[int, ...], no_explain: bool, quiet: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write runs as one HTML file: verdict, curves, values against returns, settings; it needs no network.

    Example: bellmax report runs/CartPole-v1-dqn --out report.html
    """
    from bellmax.page.report_file import write_report

    if steps and no_explain:
        raise ConfigError("--explain and --no-explain exclude each other; give one of them")
    path = write_report(folders, out, explain=steps if steps or no_explain else None, progress=not quiet)
    if open_it:
        click.launch(path.resolve().as_uri())
    if as_json:
        say_json({"file": str(path), "bytes": path.stat().st_size})
    else:
        click.echo(plain(path))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--seed", type=WHOLE, help="Seed of the run whose policy is watched.  [default: the first]")
@click.option("--which", default="final", show_default=True, help="final or best policy.")
@click.option("--episodes", type=WHOLE, default=1, show_default=True, help="Greedy episodes.")
@click.option(
    "--episode-seed", type=WHOLE, default=1, show_default=True, help="Seed of the environment in the first episode."
)
@click.option("--speed", type=float, default=1.0, show_default=True, help="Times the environment's own speed.")
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    help="Write this .mp4 or .gif.  [default: a window; without a display, a file in the run's folder]",
)
@click.option("--max-steps", type=WHOLE, help="Cut each episode after so many steps.")
@click.option("--no-panel", is_flag=True, help="Show only the picture, without the values beside it.")
@click.option("--world", help="An environment other than the one of training.")
@click.option("--quiet", is_flag=True, help="Show only the result and warnings.")
@env_option
@as_json_option
def watch(
    run: Path, which: Which, world: str | None, no_panel: bool, quiet: bool, env: tuple[str, ...], as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Watch a policy of RUN act, in a window or as a video, with its action values beside the picture.

    RUN is the folder of a run, or the file of a policy.

    Example: bellmax watch runs/CartPole-v1-dqn --episodes 2 --video cartpole.gif
    """
    from bellmax.stderr import say
    from bellmax.watching.on_screen import silence_drivers
    from bellmax.watching.watch import watch as show

    silence_drivers()
    kwargs = read_env(env) or None
    import_from_here(world or "", str((kwargs or {}).get("wrappers", "")))
    seen = show(
        run, world, which=which, panel=not no_panel, env_kwargs=kwargs, progress=not quiet, say=None if quiet else say,
        **options,
    )  # fmt: skip
    if as_json:
        returns, lengths = seen.evaluation
        video = None if seen.video is None else str(seen.video)
        say_json({
            "returns": returns.tolist(), "lengths": lengths.tolist(), "complete": seen.complete, "video": video,
            "pictures": seen.pictures, "seconds": seen.seconds,
        })  # fmt: skip
    else:
        click.echo(seen)


@click.command("compare")
@click.argument("folders", nargs=-1, required=True, metavar="RUN RUN ...", type=click.Path(path_type=Path))
@click.option("--metric", help="A column of the history instead of the scores, such as exact/regret.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Nominal coverage of the intervals.")
@as_json_option
def compare_runs(folders: tuple[Path, ...], metric: str | None, confidence: float, as_json: bool) -> None:
    """Compare the scores of runs, with an interval of each difference and what differs in their settings.

    An interval needs 5 seeds in each run.

    Example: bellmax compare runs/CartPole-v1-dqn runs/CartPole-v1-rainbow
    """
    from bellmax.report.comparing import compare

    comparison = compare(list(folders), metric, confidence)
    if as_json:
        say_json(comparison.to_json())
    else:
        click.echo(str(comparison))
