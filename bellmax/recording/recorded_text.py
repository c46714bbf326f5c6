"""Plain Python. A window of recorded steps as text for a terminal."""

from __future__ import annotations

from bellmax.contracts import Json, counted
from bellmax.recording.window import Part, Phase, RecordedStep, Window

MOST_SHOWN = 6  # numbers of a list
INDENT = 12
MOST_WIDTH = 110


def describe_window(window: Window) -> str:
    """Return a window as text: for each step its phases, each with its equation and its numbers."""
    end = window.steps[-1].t
    head = (
        f"{window.agent} on {window.world}, seed {window.seed}: "
        f"{counted(len(window.steps), 'recorded step')}, from step {window.start:,} to {end:,}"
    )
    return "\n".join([head, f"phases: {' → '.join(window.flow)}", *map(describe_step, window.steps)])


def describe_step(step: RecordedStep) -> str:
    """Return one step as text."""
    lines = [f"\nstep {step.t:,} (step {step.episode_step:,} of its episode)"]
    for phase in step.phases:
        lines += describe_phase(phase)
    return "\n".join(lines)


def describe_phase(phase: Phase) -> list[str]:
    """Return the lines of a phase: its equation in symbols and in numbers, then its values."""
    lines, label = list[str](), f"  {phase.name:<{INDENT - 2}}"
    if phase.equation:
        lines.append(label + "".join(joined_words([symbol_of(part) for part in phase.equation])))
        label = " " * INDENT
        lines.append(label + "".join(joined_words([number_of(part) for part in phase.equation])))
    words = [
        f"{name}={value_in_words(value)}" for name, value in phase.values.items() if not isinstance(value, dict | list)
    ]
    words += [
        f"{name}={value_in_words(value)}" for name, value in phase.values.items() if isinstance(value, dict | list)
    ]
    for line in wrapped(words):
        lines.append(label + line)
        label = " " * INDENT
    return lines or [label.rstrip()]


def wrapped(words: list[str]) -> list[str]:
    """Return words in lines of at most `MOST_WIDTH` letters, where that is possible."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 2 + len(word) > MOST_WIDTH:
            lines.append("")
        lines[-1] += f"  {word}" if lines[-1] else word
    return [line for line in lines if line]


def joined_words(words: list[str]) -> list[str]:
    """Return words with a space between them, but not inside of a bracket."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(words)]


def symbol_of(part: Part) -> str:
    """Return a term by its symbol."""
    return part if isinstance(part, str) else part.symbol


def number_of(part: Part) -> str:
    """Return a term by its number."""
    return (
        part
        if isinstance(part, str)
        else value_in_words(list(part.value) if isinstance(part.value, list) else part.value)
    )


def value_in_words(value: Json) -> str:
    """Return a value in a few letters."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        more = f", ... ({len(value)})" if len(value) > MOST_SHOWN else ""
        return f"[{', '.join(value_in_words(each) for each in value[:MOST_SHOWN])}{more}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {value_in_words(each)}' for name, each in value.items())}}}"
    return str(value)
