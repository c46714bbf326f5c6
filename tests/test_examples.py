"""The examples run and say what they promise."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def say(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr("sys.argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_three_ways_to_a_model_are_one_model(monkeypatch, capsys) -> None:
    said = say("own_model.py", monkeypatch, capsys)
    values = re.findall(r"3 states, worth ([\d.]+)", said)
    assert len(values) == 3
    assert len(set(values)) == 1
    assert said.count("service, Q*") == 3
    for exact, learned in re.findall(r"Q\* \[ *([\d.]+).*learned \[ *([\d.]+)", said):
        assert float(learned) == pytest.approx(float(exact), rel=0.05)


def test_inventory_from_data_to_policy(monkeypatch, capsys) -> None:
    said = say("inventory.py", monkeypatch, capsys)
    assert "the best policy is (s, S) = (" in said
    best, usual = map(float, re.findall(r"earns ([\d.]+) a week .*: ([\d.]+)", said)[0])
    assert usual < best
    learned = [float(value) for value in re.findall(r"[:,] ([\d.]+)", said.splitlines()[-1])]
    assert len(learned) == 3
    assert all(0.9 * best < value <= best for value in learned)


def test_the_tutorial_on_a_table(monkeypatch, capsys) -> None:
    said = say("tutorial_table.py", monkeypatch, capsys)
    left, right, least, most = re.search(
        r"error of left (\S+), of right (\S+); ([\d,]+) to ([\d,]+) steps", said
    ).groups()
    assert float(left) < 1e-4
    assert float(right) < 1e-12
    assert 6_500 < int(least.replace(",", "")) < int(most.replace(",", "")) < 7_500  # as the tutorial's own script
    first, random = (int(n) for n in re.findall(r"the goal on (\d+) of 100 seeds", said))
    assert 25 < first < 75
    assert random >= 99


def test_the_tutorial_on_a_network(monkeypatch, capsys) -> None:
    """Short: that it runs as written; its docstring has what came out of all of it."""
    said = say("tutorial_dqn.py", monkeypatch, capsys, "700", "1").splitlines()
    assert "1 seeds, 700 steps" in said[0]
    assert [line[:28].strip() for line in said[1:]] == [
        "the tutorial's script, 500 e", "bellmax, the tutorial's sett", "bellmax, its defaults",
    ]  # fmt: skip
