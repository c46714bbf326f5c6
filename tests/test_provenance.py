"""A run that goes on with other versions, or on another machine, says so, once and wherever it is described."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from saved import StopError, lose_power, reseal

import bellmax as bx
from bellmax.cli import main
from bellmax.files.provenance import changes, continued, environment, inexact
from bellmax.report.text import describe_run


def cut(folder: Path, patch: pytest.MonkeyPatch, at: int, begin: Any) -> None:
    """Run `begin()`, which is saved at each record, until the save of the step `at`."""
    with patch.context() as here:
        lose_power(here, at)
        with pytest.raises(StopError):
            begin()


def moved(folder: Path, **versions: str) -> None:
    """Make a run one that was computed with these versions."""
    card = json.loads((folder / "environment.json").read_text())
    card["packages"] |= versions
    (folder / "environment.json").write_text(json.dumps(card))
    reseal(folder)


def test_a_run_that_goes_on_elsewhere_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    options: dict[str, Any] = {"steps": 400, "records": 4, "final_episodes": 1, "out": folder, "progress": False}
    cut(folder, monkeypatch, 200, lambda: bx.train("corridor", "q-learning", **options))
    moved(folder, jax="0.0.1", numba="0.0.2")
    now = environment()
    differs = [f"numba 0.0.2, now {now['packages']['numba']}", f"jax 0.0.1, now {now['packages']['jax']}"]
    line = f"from step 200 on, this is not bit for bit the run that was begun: {'; '.join(differs)}"
    said: list[str] = []
    cut(folder, monkeypatch, 300, lambda: bx.resume(folder, say=said.append, progress=False))
    assert line in said
    again: list[str] = []
    run = bx.resume(folder, say=again.append, progress=False)
    assert not any("bit for bit" in each for each in again)
    card = json.loads((folder / "environment.json").read_text())
    assert [(each["step"], each["differs"]) for each in card["continued"]] == [(200, differs)]
    assert card["packages"]["jax"] == "0.0.1"
    for text in (repr(run), describe_run(run), repr(bx.load(folder))):
        assert text.count("from step 200 on, not bit for bit the run that was begun: numba 0.0.2") == 1
    shown = CliRunner().invoke(main, ["eval", str(folder), "--episodes", "2"])
    assert "from step 200 on, not bit for bit" in " ".join(shown.output.split())


def test_a_run_that_goes_on_here_is_not_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    options: dict[str, Any] = {"steps": 400, "records": 4, "final_episodes": 1, "out": folder, "progress": False}
    cut(folder, monkeypatch, 200, lambda: bx.train("corridor", "q-learning", **options))
    said: list[str] = []
    run = bx.resume(folder, say=said.append, progress=False)
    assert not any("bit for bit" in line for line in said)
    assert "continued" not in run.environment
    assert inexact(run.environment) == []
    recorded = json.loads((folder / "environment.json").read_text())
    assert recorded["processor"] == environment()["processor"]
    assert "device" not in recorded  # a table does not use it


def test_what_is_compared_and_which_state_counts() -> None:
    now = environment(network=True)
    packages = {**now["packages"], "jax": "0.0.1", "safetensors": "0.0.1"}
    first = {**now, "packages": packages, "device": "gpu X", "started": "before", "cpus": 99}
    differs = [f"jax 0.0.1, now {now['packages']['jax']}", f"device gpu X, now {now['device']}"]
    assert changes(first, now) == differs
    assert changes({"packages": {"unknown": "1"}}, now) == []  # of an older version: nothing is known
    once, told = continued(first, 300, now)
    assert told == differs
    assert continued(once, 500, now) == (once, [])
    back, told = continued(once, 500, first)
    assert told == [f"jax {now['packages']['jax']}, now 0.0.1", f"device {now['device']}, now gpu X"]
    assert len(inexact(back)) == 2
    assert continued(back, 200, first) == (first, [])  # from a state of before
    assert continued(once, 300, first) == (first, [])
    for hostile in ({"continued": 3}, {"continued": [3, {"step": "x"}]}, {"packages": 7}):
        assert inexact(hostile) == []
        assert continued(hostile, 3, now)[1] == []
    assert continued({}, 3, now) == (now, [])
