"""The code in README and docs runs.

Each document is run from top to bottom in a temporary folder: its ```python blocks in one namespace that has `bx` and
`np`, and each line of its console blocks that begins with `bellmax` through the command line. Runs are short: `SMALL`
cuts down the numbers, and nothing else is changed. The folder has the module `package` (`PACKAGE`) that the documents
use as an example of the reader's own, and the examples of extending.

A block that cannot run is marked in the Markdown by a comment before it: <!-- not run: why -->
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.catalog import AGENTS
from bellmax.cli import main
from bellmax.networks.torsos import TORSOS
from bellmax.registry import WORLDS
from bellmax.training.train import train

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SMALL = (
    # what stands in the document: what runs
    (r"\bsteps=\d[\d_]*", "steps=300"),
    (r"\bepisodes=\d[\d_]*", "episodes=2"),
    (r"\bseeds=\d+", "seeds=2"),
    (r"--steps \d+", "--steps 300"),
    (r"--episodes \d+", "--episodes 2"),
    (r"--seeds \d+", "--seeds 2"),
    (r"--(at|explain) \d+", r"--\1 100"),
)
MISSING = {"steps": 300, "eval_episodes": 1, "final_episodes": 1}  # for `bx.train` and `bellmax train`, if not given
ROUND = {"pqn": "5000"}  # agents whose first round of learning needs more steps than that
PACKAGE = """
import gymnasium as gym
import numpy as np

class Drone(gym.Env):
    observation_space = gym.spaces.Box(-5, 5, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, wind=1):
        self.wind = wind

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.state = 0, self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.state.copy(), {}

    def step(self, action):
        self.time += 1
        self.state = np.clip(self.state + np.float32(0.1) * (2 * action - self.wind), -5, 5).astype(np.float32)
        return self.state.copy(), -abs(float(self.state[0])), False, self.time >= 50, {}

class Shaped(gym.RewardWrapper):
    def reward(self, reward):
        return 0.1 * reward

def make_model():
    import bellmax
    return bellmax.corridor()

gym.register("Drone-v0", Drone)
gym.register("Slow-v0", Drone)
"""


class Block(NamedTuple):
    line: int
    language: str
    code: str


def blocks_of(path: Path, marked: bool = False) -> list[Block]:
    """The blocks of a document that run; with those that are `marked` as not run, if asked."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- not run: [^>]+-->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(text.count("\n", 0, match.start(3)) + 1, match[2], match[3])
        for match in pattern.finditer(text)
        if (marked or match[1] is None) and (match[2] == "python" or re.search(r"^bellmax ", match[3], re.MULTILINE))
    ]


def small(text: str) -> str:
    for pattern, shorter in SMALL:
        text = re.sub(pattern, shorter, text)
    return text


def command(line: str) -> list[str]:
    """The words of a command line, with a short run."""
    words = shlex.split(small(line), comments=True)[1:]
    if words[0] == "train" and "--help" not in words:
        for name, value in MISSING.items():
            option = "--" + name.replace("_", "-")
            if option not in words and not (name == "steps" and "--episodes" in words):
                words += [option, str(value)]
        for agent, steps in ROUND.items():
            if agent in words and "--steps" in words:
                words[words.index("--steps") + 1] = steps
    return words


def short_train(*args: Any, **kwargs: Any) -> Any:
    """`bellmax.train`, with a short run where the document gives no length."""
    missing = {name: value for name, value in MISSING.items() if name != "steps" or "episodes" not in kwargs}
    return train(*args, **{**missing, **kwargs})


def run(block: Block, document: str, names: dict[str, object]) -> None:
    if block.language == "python":
        padding = "\n" * (block.line - 1)  # so that a traceback shows the line of the document
        exec(compile(padding + small(block.code), document, "exec", dont_inherit=True), names)  # noqa: S102
        return
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("bellmax "):
            done = CliRunner().invoke(main, command(line), prog_name="bellmax")
            assert done.exit_code == 0, f"{document}: {line}\n{done.output}{done.exception!r}"


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks_of(path)], ids=lambda path: path.name)
def test_code_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "package" / "module.py").write_text(PACKAGE.partition("gym.register")[0])
    for example in (ROOT / "examples" / "extending").glob("*.py"):
        shutil.copy(example, tmp_path)
    for registry in (AGENTS, TORSOS, WORLDS):  # what a document registers is gone afterwards
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    monkeypatch.setattr(bx, "train", short_train)
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)  # where the classes of the document are looked up
    vars(module).update(bx=bx, np=np)
    for block in blocks_of(path):
        with warnings.catch_warnings(action="ignore"):  # short runs have remarks
            run(block, path.name, vars(module))


def test_documents_have_code() -> None:
    assert {"README.md", "runs.md", "tabular.md"} <= {path.name for path in DOCUMENTS if blocks_of(path)}


def test_every_command_in_the_documents_exists() -> None:
    """Quick, for what the slow test runs: names of commands and of options."""
    for path in DOCUMENTS:
        code = "\n".join(block.code for block in blocks_of(path, marked=True))
        for line in re.findall(r"^bellmax .*$", code, re.MULTILINE):
            words = shlex.split(line, comments=True)[1:]
            verb = main.commands[words[0]] if not words[0].startswith("-") else main
            known = {name for option in verb.params for name in option.opts + option.secondary_opts}
            known |= {"--help", "-h", "--version"}
            assert {word for word in words if word.startswith("-") and not word[1:2].isdigit()} <= known, line
            assert isinstance(verb, click.Command)
