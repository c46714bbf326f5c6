"""Every sentence that a user may meet is plain American English with the terms of the field.

The list holds phrases that were replaced once; each says what to write instead. Code in backticks, in blocks and in
indented drawings is not prose.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bellmax"

PHRASES = {
    # pattern: what to write
    r"anew|made again\b": "again, or recreated",
    r"on end(?=[,.;]|$)": "in a row",
    r"\bfor ever\b": "forever",
    r"learnt": "learned",
    r"sooner": "faster, or earlier",
    r"\bdear(er|est)?\b": "expensive",
    r"leaves? (it |them |this )?away|left away": "leave out",
    r"otherwise than|others than": "differently from, or other than",
    r"\b(has|have|had) not (a|an|the|to|any|all|its|their|this)\b": "does not have",
    r"(?<!there )\b(is|are|was) no (?!longer|more|less|need|other)(?=[a-z])": "is not a",
    r"\balone\b": "only",
    r",? too(?= *[.;:)]|$)": "also",
    r"\b(tells?|told|untold)\b(?! \w* ?apart)": "says, shows, reports",
    r"(is|are|was|were) refused": "fails, or is an error",
    r"\bif need be\b|by the custom of": "if necessary",
    r"put up with": "can handle",
    r"(takes?|took) (along|the .* way)|takes? nothing": "use",
    r"look for what": "check whether it",
    r"\bgo(es)? (on|together|beyond|by|wrong) with|\bgo(es)? with\b": "work with, or apply to",
    r"^Go on with": "Resume",
    r"bring(s|t)? .* home": "save",
    r"to its end(?=[,.;]|$)": "and finish it",
    r"\bharm\b": "safe",
    r"of interest": "meaningful",
    r"\bcoin per\b|\bown coin\b": "independently",
    r"softly": "by Polyak averaging",
    r"\ba fault of bellmax\b": "a bug in bellmax",
    r"says? so(?= of)": "reports",
    r"\bsays? (world|env)=": "pass",
    r"what cannot go together": "incompatible settings",
    r"does not show all": "is partial",
    r"once more to": "again to",
    r"would import a module named in": "refusing to import",
    r"what it gathers": "accumulates state",
    r"made (once|only once|in) for all": "created once",
    r"(?<!\.)(?<!--)\bworlds?\b(?![:=])": "environment",
    r"whatever (it|they|its|the) ": "any",
    r"\b(colours?|neighbours?|centres?|honours?|favours?|metres?|grey|catalogues?)\b": "American spelling",
    r"\w*(normalis|standardis|prioritis|initialis|factoris|discretis|serialis|recognis|generalis|randomis|summaris|"
    r"uniformis|maximis|minimis|organis|realis)\w*|\w*optimis(e|er|ed|ation|ing)s?\b": "American spelling: -ize",
}  # fmt: skip
PATTERN = re.compile("|".join(f"(?:{pattern})" for pattern in PHRASES), re.IGNORECASE)
NAMES = ("World",)  # names in the code
FOREIGN = re.compile(r"[a-z0-9_ ]*_[a-z0-9_ ]*")  # a list of settings of other libraries
COMPILED = (
    "envs/functional.py", "envs/classic.py", "envs/probes.py", "envs/gymnax_worlds.py", "envs/tabulated.py",
    "envs/compiled_gymnasium.py", "envs/world_contract.py", "report/checking_worlds.py",
    "recording/acting_steps.py", "recording/table_parts.py",  # which show lines of code
)  # fmt: skip

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted(PACKAGE.rglob("*.py"))


def prose_of(text: str) -> str:
    """Markdown or a docstring without code and drawings, at the same line numbers."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]+", "", match.group())

    text = re.sub(r"^(```|~~~).*?^\1", blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^( *)::\n(?:\n|\1 +.*\n)*", blank, text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", blank, text)
    return re.sub(r"\]\([^)\s]*\)|https?://\S+|<!--.*?-->", "", text)


def strings_of(path: Path) -> list[tuple[int, str]]:
    """(line, text) of every docstring and of every string with a space in it."""
    found, inner = [], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            inner |= {id(part) for part in ast.walk(node)}
            found.append((node.lineno, "".join(parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            found.append((node.lineno, node.value))
    return [(line, text) for line, text in found if " " in text.strip() and not FOREIGN.fullmatch(text)]


def faults(line: int, text: str, allowed: tuple[str, ...] = NAMES) -> list[str]:
    """Each forbidden phrase in a text that begins at a line; the words `allowed` are not among them."""
    prose = prose_of(text)
    return [
        f"{line + prose.count(chr(10), 0, match.start())}: {match.group()!r} in "
        f"{' '.join(prose[max(match.start() - 40, 0) : match.end() + 40].split())!r}"
        for match in PATTERN.finditer(prose)
        if match.group() not in allowed
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents(path: Path) -> None:
    assert faults(1, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    compiled = name in COMPILED or name.startswith("tabular/")  # the protocol of compiled environments is a World
    allowed = (*NAMES, "world", "worlds") if compiled else NAMES
    assert [fault for line, text in strings_of(path) for fault in faults(line, text, allowed)] == []
