"""Plain Python. Recorded steps as a page: the algorithm as a flow, its equations with their numbers, and its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bellmax.contracts import ConfigError, Json
from bellmax.files import storage
from bellmax.page.document import Html, Section, assemble, data_block, tag

BUTTONS = (
    ("step-back", "Step back"), ("back", "Back"), ("forward", "Forward"), ("step-forward", "Next step"),
    ("play", "Play"), ("large", "Large type"), ("full", "Full screen"),
)  # fmt: skip
PRESSED = ("play", "large")  # buttons that stay down
KEYS = (
    "Arrow keys go through the phases, with Shift through the steps; Home and End go to the first and the last. "
    "The address of the page names the step, so that you can share it."
)


def explainer_section(windows: Sequence[Mapping[str, Json]], *, only: bool = False) -> Section:
    """Return the section that steps through recorded windows, forward and back.

    Args:
        windows: what `Window.to_json()` returns, at least one.
        only: the page has nothing else, so that the arrow keys are always for it.
    """
    buttons = [
        tag("button", text, type="button", data_part=name, aria_pressed="false" if name in PRESSED else None)
        for name, text in BUTTONS
    ]
    choice = tag("label", "Window ", tag("select", data_part="windows"))
    link = tag("a", "Link to this step", href="#", data_part="link")
    board = tag(
        "div",
        tag("div", data_part="equations", role="group", aria_label="Equations"),
        tag("div", data_part="numbers", role="group", aria_label="Numbers"),
        class_="board",
    )
    code = tag("div", tag("p", "Code", class_="note"), tag("pre", tag("code", data_part="code"), tabindex=0))
    stage = tag(
        "div",
        tag("div", choice, buttons, link, class_="controls", role="group", aria_label="Steps"),
        tag("nav", tag("ol", class_="flow", data_part="flow"), aria_label="Phases of the step"),
        tag("p", class_="where", data_part="where", aria_live="polite"),
        board,
        tag("div", code, data_part="code-box"),
        id="stage", class_="stage", tabindex=-1, data_only="" if only else None,
    )  # fmt: skip
    note = tag("p", KEYS, class_="note")
    data = data_block("explainer-data", {"windows": [{**window, "title": window_title(window)} for window in windows]})
    return Section("explainer", "Step by step", Html(note + stage + data))


def window_title(window: Mapping[str, Json]) -> str:
    """Return the name of a window, such as "dqn on CartPole-v1, seed 0, steps 1,000 to 1,002"."""
    clocks = [step["t"] for step in steps_of(window)]
    numbers = [clock for clock in clocks if isinstance(clock, int)]
    span = f"step {numbers[0]:,}" if len(numbers) == 1 else f"steps {numbers[0]:,} to {numbers[-1]:,}"
    return f"{window['agent']} on {window['world']}, seed {window['seed']}, {span}"


def steps_of(window: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Return the recorded steps of a window.

    Raises:
        ConfigError: it has none.
    """
    steps = window["steps"]
    found = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, Sequence) else []
    if not found:
        raise ConfigError(f"the window of {window['agent']} on {window['world']} has no steps; record at least one")
    return found


def explainer_page(windows: Sequence[Mapping[str, Json]]) -> str:
    """Return a page that is only the explainer of these windows."""
    first = windows[0]
    title = f"{first['agent']} on {first['world']}, step by step"
    return assemble(title, None, [explainer_section(windows, only=True)], ["theme.js", "explainer.js"])


def write_explainer(windows: Sequence[Mapping[str, Json]], file: Path) -> Path:
    """Write a page that is only the explainer of these windows; return its path.

    Raises:
        ResourceError: it cannot be written.
    """
    storage.write(file, explainer_page(windows))
    return file
