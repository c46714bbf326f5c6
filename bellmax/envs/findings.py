"""Plain Python. Collect what checks of an environment found, in a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from bellmax.contracts import counted
from bellmax.envs.raising import error_in_words

Level: TypeAlias = Literal["ok", "hint", "warning", "error"]
PLAIN = "return plain numbers, arrays, dicts and tuples, as the spaces define"


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: its name.
        level: "error", bellmax cannot use it or learns something wrong; "warning", it works here but looks like a bug;
            "hint", it may be right; "ok".
        what: what was found, and where.
        fix: what to do about it, or "" if the level is "ok".
    """

    check: str
    level: Level
    what: str
    fix: str


class Findings:
    """What was found so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Level, str], tuple[int, float, str]] = {}
        self._well: dict[str, str] = {}

    def add(self, check: str, level: Level, what: str, fix: str, size: float = 0.0) -> None:
        """Note a flaw; one with the same fix is the same again."""
        key = check, level, fix
        times, largest, told = self._found.get(key, (0, -1.0, ""))
        self._found[key] = times + 1, max(size, largest), what if size > largest else told

    def well(self, check: str, what: str) -> None:
        """What to say of a check if nothing was found."""
        self._well[check] = what

    def guard(self, check: str, place: str, look: Callable[..., Any], *args: object) -> None:
        """`look(*args)`; if a strange value makes it raise, that is also a finding."""
        try:
            look(*args)
        except Exception as error:
            self.add(check, "error", f"{place}: cannot be checked: {said(error)}", PLAIN)

    def all(self) -> tuple[Finding, ...]:
        """Check by check, the worst first within each."""
        groups = {check: [Finding(check, "ok", what, "")] for check, what in self._well.items()}
        for check in {check: None for check, _, _ in self._found}:
            found = [
                Finding(check, level, what if times == 1 else f"{what} ({times:,} times)", fix)
                for (other, level, fix), (times, _, what) in self._found.items()
                if other == check
            ]
            groups[check] = sorted(found, key=lambda finding: ("error", "warning", "hint").index(finding.level))
        return tuple(finding for group in groups.values() for finding in group)


@dataclass(frozen=True)
class Report:
    """What `bellmax.check_env` found; printed, it is a table.

    Attributes:
        name: Gymnasium's id, or the class of the environment.
        findings: check by check.
        facts: numbers by name, such as "steps_per_second".
    """

    name: str
    findings: tuple[Finding, ...]
    facts: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings and hints."""
        return all(finding.level != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values for `json.dumps`."""
        findings = [finding._asdict() for finding in self.findings]
        return {"name": self.name, "ok": self.ok, "facts": self.facts, "findings": findings}

    def __str__(self) -> str:
        """The findings in aligned columns, and below them what to do."""
        width = max(len(finding.check) for finding in self.findings)
        told = ("steps", "episodes", "steps_per_second")
        head = ", ".join(f"{self.facts.get(name, 0):,} {name.replace('_', ' ')}" for name in told)
        lines = [f"{self.name}: {head}", ""]
        lines += [f"{level:<7}  {check:<{width}}  {what}" for check, level, what, _ in self.findings]
        if fixes := [f"{check:<{width}}  {fix}" for check, _, _, fix in self.findings if fix]:
            lines += ["", "What to do", *fixes]
        counts = [(level, sum(finding.level == level for finding in self.findings)) for level in ("error", "warning")]
        total = ", ".join(counted(n, level) for level, n in counts)
        return "\n".join([*lines, "", f"{total}: {'bellmax can learn here' if self.ok else 'fix these first'}"])


def said(error: BaseException) -> str:
    """An exception on one line."""
    return " ".join(error_in_words(error).split())[:300]
