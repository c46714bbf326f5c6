"""An agent class of the user's own, found again by its name."""

import subprocess
import sys
from pathlib import Path

import pytest

import bellmax as bx
from bellmax.catalog import agent_class, make_agent


class Careful(bx.QLearning):
    """Q-learning by another name."""

    name = "careful-q"


def test_a_run_of_ones_own_agent_is_read_back(tmp_path: Path) -> None:
    run = bx.train("corridor", Careful, steps=500, gamma=0.5, final_episodes=2, out=tmp_path / "run")
    run.policy().save(tmp_path / "policy")
    assert type(bx.load(tmp_path / "run").config) is Careful
    assert type(bx.load_policy(tmp_path / "policy").config) is Careful
    assert bx.evaluate(tmp_path / "run", episodes=2).returns.shape == (2,)
    assert agent_class("careful-q") is Careful
    assert make_agent("careful-q", "", {"gamma": 0.5}) == Careful(gamma=0.5)


def test_where_its_module_is_not_imported_that_is_said(tmp_path: Path) -> None:
    bx.train("corridor", Careful, steps=200, final_episodes=0, out=tmp_path / "run")
    script = f"import bellmax as bx\nbx.load({str(tmp_path / 'run')!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "UnsafeFile: refusing to import 'test_own_agents'" in done.stderr
    assert "import test_own_agents before you load the file" in done.stderr
    with pytest.raises(bx.ConfigError, match="unknown agent 'careful-p'"):
        agent_class("careful-p")
