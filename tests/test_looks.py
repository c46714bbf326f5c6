"""What a person sees of a run: tables for pandas, and a few lines when something is printed."""

import builtins
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bellmax as bx
from bellmax.training.history import History


@pytest.fixture(scope="module")
def run() -> bx.Run:
    return bx.train("cliff", "q-learning", steps=3_000, seeds=[4, 7, 9], records=5, final_episodes=2)


@pytest.mark.parametrize("make", [lambda run: pd.DataFrame(run.history), lambda run: run.to_pandas()])
def test_a_table_has_a_row_for_each_seed_and_record(make: Any, run: bx.Run) -> None:
    table = make(run)
    assert list(table.columns) == ["seed", "step", *run.history.columns]
    assert len(table) == 3 * len(run.history) == 3 * 5
    assert table.dtypes["seed"] == table.dtypes["step"] == np.int64
    assert table.seed.tolist() == [4] * 5 + [7] * 5 + [9] * 5
    assert table.step.tolist() == run.history.step * 3
    for i, seed in enumerate(run.seeds):
        for name in run.history.columns:
            np.testing.assert_array_equal(table[table.seed == seed][name], run.history[name][i], err_msg=name)
    assert len(table.groupby("step").mean()) == 5


def test_a_column_that_came_later_is_nan_before() -> None:
    history = History([0, 1])
    history.append(10, {"a": [1.0, 2.0]})
    history.append(20, {"a": [3.0, 4.0], "b": [5.0, 6.0]})
    table = pd.DataFrame(history)
    assert table.a.tolist() == [1.0, 3.0, 2.0, 4.0]
    assert table.b.isna().tolist() == [True, False, True, False]
    pd.testing.assert_frame_equal(table, history.to_pandas())
    assert {name: np.shape(column) for name, column in dict(history).items()} == {
        "step": (2,),
        "a": (2, 2),
        "b": (2, 2),
    }


def test_an_empty_history() -> None:
    assert pd.DataFrame(History([0])).empty
    assert History([0]).to_pandas().empty
    assert "0 records" in repr(History([0]))


def test_without_pandas(run: bx.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(bx.ConfigError, match=r"pip install 'bellmax\[pandas\]'"):
        run.to_pandas()


@pytest.mark.parametrize("show", [repr, str])
def test_what_is_printed_is_short_and_says_what_it_is(show: Any, run: bx.Run) -> None:
    many = bx.train("cliff", "q-learning", steps=200, seeds=30, records=2, final_episodes=1)
    network = bx.train("CartPole-v1", "dqn", steps=200, records=1, eval_episodes=0, final_episodes=0)
    evaluation = bx.evaluate(run, episodes=40)
    words = {
        "Run(q-learning on cliff: 3,000 steps, 3 seeds": run,
        "Run(q-learning on cliff: 200 steps, 30 seeds": many,
        "Run(dqn on CartPole-v1": network,
        "Policy(q-learning of cliff": run.policy(4),
        "Policy(dqn of CartPole-v1": network.policy(),
        "History(5 records of 3 seeds": run.history,
        "Evaluation(120 episodes": evaluation,
    }
    for beginning, thing in words.items():
        text = show(thing)
        assert text.startswith(beginning)
        assert len(text.splitlines()) <= 10, text
        assert max(map(len, text.splitlines())) <= 200, text
        assert "array(" not in text
    assert f"{run.scores[0]:.6g}" in show(run)
    assert "not saved" in show(run)


def test_what_holds_many_numbers_is_printed_in_a_line(run: bx.Run) -> None:
    data = bx.collect(None, "CartPole-v1", steps=60)
    summary = run.summary()
    for shown in (run.episodes[0], data, summary):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 160
    assert repr(data).startswith(f"Dataset(60 steps: {data.terminated.sum()} terminated")
    assert "mean return" in repr(run.episodes[0])
    assert repr(summary).startswith("Summary(n=3, iqm=")
