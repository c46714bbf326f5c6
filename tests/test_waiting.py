"""Compiling that takes long is said, once, in training, resuming and evaluation."""

import time
from pathlib import Path
from typing import Any

import pytest

import bellmax as bx
from bellmax import waiting
from bellmax.training import trainer
from bellmax.waiting import compiling, compiling_first, listening

LINE = "compiling ..."


@pytest.mark.parametrize(
    ("seconds", "told"),
    [([0.3], 1), ([0.3, 0.3], 1), ([0.0] * 5, 0), ([0.07] * 4, 1), ([], 0)],
    ids=["long", "twice", "quick", "long in all", "nothing"],
)
def test_it_is_said_once_if_it_takes_long(
    seconds: list[float], told: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(waiting, "SECONDS", 0.15)
    heard: list[float] = []
    with listening(lambda: heard.append(time.monotonic())):
        begin = time.monotonic()
        for each in seconds:
            compiling_first(time.sleep)(each)
        end = time.monotonic()
    assert len(heard) == told
    assert all(begin + 0.1 < moment < end for moment in heard)


def test_only_the_first_call_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0.1)
    sleep, heard = compiling_first(time.sleep), list[int]()
    sleep(0.0)
    with listening(lambda: heard.append(1)):
        sleep(0.2)
    assert heard == []
    fail = compiling_first(lambda x: 1 / x)
    with pytest.raises(ZeroDivisionError):
        fail(0)
    assert (fail(2), fail(4)) == (0.5, 0.25)


def test_nobody_is_told_after_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0.1)
    heard: list[int] = []
    with listening(lambda: heard.append(1)), pytest.raises(KeyError), compiling():
        raise KeyError
    time.sleep(0.2)
    with compiling():
        time.sleep(0.2)
    assert heard == []


def said(capsys: pytest.CaptureFixture[str]) -> int:
    """How many lines on standard error say that something is compiled."""
    return capsys.readouterr().err.splitlines().count(LINE)


def _interrupt(self: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_a_table_says_it_in_train_and_resume(
    loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0.0)
    how: dict[str, Any] = {"steps": 200, "loop": loop, "records": 2, "final_episodes": 2}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "SAVE_SECONDS", 0.0)
        patch.setattr(trainer.Trainer, "save_end", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            bx.train("cliff", "q-learning", out=tmp_path / "run", progress=True, **how)
    assert said(capsys) == 1
    assert bx.resume(tmp_path / "run", progress=True).scores
    assert said(capsys) == 1
    bx.train("cliff", "q-learning", **how)  # standard error is not a terminal
    bx.train("cliff", "q-learning", progress=False, **how)
    assert said(capsys) == 0


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_a_network_says_it_in_train_and_evaluate(
    loop: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0.0)
    agent = bx.DQN(net_arch=(8,), learning_starts=50, buffer_size=500)
    short: dict[str, Any] = {"steps": 200, "records": 1, "eval_episodes": 0, "final_episodes": 0, "loop": loop}
    policy = bx.train("probe:delay", agent, progress=True, **short).policy()
    assert said(capsys) == 1
    assert bx.evaluate(policy, episodes=3, progress=True).returns.size == 3
    assert said(capsys) == 1
    bx.evaluate(policy, episodes=4)
    assert said(capsys) == 0
