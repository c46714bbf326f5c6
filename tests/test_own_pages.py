"""The pages on parts of your own can be followed as they stand: from an empty folder, in fresh processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_snippets import ROOT, blocks_of, command, small

import bellmax as bx

PAGES = [*sorted((ROOT / "docs").glob("own-*.md")), ROOT / "CONTRIBUTING.md"]


def process(folder: Path, *words: str) -> None:
    """Run Python in a folder, as a reader would: only bellmax itself is on the path, and no warning is expected."""
    env = {**os.environ, "PYTHONPATH": str(Path(bx.__file__).parents[1])}
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_can_be_followed_from_an_empty_folder(path: Path, tmp_path: Path) -> None:
    session, lines = [], []
    for block in blocks_of(path):
        if name := re.match(r"# (\w+\.py)\n", block.code):
            (tmp_path / name[1]).write_text(block.code)
        elif block.language == "python":
            session.append(
                re.sub(r"(bx\.train\(.*?steps=300)", r"\1, eval_episodes=0, final_episodes=1", small(block.code))
            )
        else:
            lines += [line for line in block.code.splitlines() if line.startswith("bellmax ")]
    (tmp_path / "session.py").write_text("\n".join(session))
    process(tmp_path, "session.py")
    for line in lines:
        process(tmp_path, "-m", "bellmax", *command(line))
