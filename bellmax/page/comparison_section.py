"""Plain Python. How far apart the runs of one environment are: the differences of `bx.compare`, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

from bellmax.contracts import ConfigError, listed
from bellmax.page.document import Html, Section, inner, table, tag
from bellmax.page.run_sections import is_over
from bellmax.report.comparing import compare
from bellmax.training.run import Run

NOTE = (
    "Each row is a later run minus an earlier one. P(higher) is the probability that a seed of the later run scores "
    "higher than a seed of the earlier one. The scores are those of the final policies, the intervals bootstraps over "
    "seeds, as bx.compare computes them."
)


def comparison_section(runs: Mapping[str, Run]) -> Section:
    """Return the differences of each two runs, by environment; nothing where no two runs share one."""
    groups: dict[str, dict[str, Run]] = {}
    for name, run in runs.items():
        groups.setdefault(run.world, {})[name] = run
    several = {world: group for world, group in groups.items() if len(group) > 1}
    parts: list[Html | None] = []
    for world, group in several.items():
        parts += [tag("h3", world) if len(groups) > 1 else None, differences(group)]
    return Section("comparison", "Differences between the runs", inner(parts))


def differences(runs: Mapping[str, Run]) -> Html:
    """Return the differences of runs of one environment as a table, and what to know before trusting them."""
    ended = {name: run for name, run in runs.items() if is_over(run)}
    waiting = [name for name in runs if name not in ended]
    unfinished = tag("p", f"Without scores, as they have not ended: {listed(waiting)}.", class_="remark")
    parts: list[Html | None] = [unfinished if waiting else None]
    if len(ended) > 1:
        try:
            comparison = compare(ended)
        except ConfigError as error:
            return inner([*parts, tag("p", f"Not compared: {error}.", class_="remark")])
        head, rows, more = comparison.pair_table()
        remarks = [tag("p", f"Look: {remark}.", class_="remark") for remark in comparison.remarks]
        shown = table(head, rows, "Differences of the scores", class_="words")
        parts += [tag("p", NOTE, class_="note"), shown, tag("p", more, class_="note") if more else None, *remarks]
    return inner(parts)
