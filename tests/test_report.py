"""Pictures and tables of a run, in characters."""

from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.cli import numbers
from bellmax.mdp.model import FiniteMDP
from bellmax.report.text import curve, describe_run, describe_solution, describe_summary
from bellmax.summary_statistics import summarize, with_interval
from bellmax.training.history import History
from bellmax.training.run import Run

NAN = float("nan")
RISING = np.linspace(0.0, 9.0, 10)


def make_run(values: np.ndarray, column: str = "rollout/ep_rew_mean") -> Run:
    """A run whose history has one column [seeds, T]; NaN means that the record lacks it."""
    seeds = list(range(values.shape[0]))
    history = History(seeds)
    for t in range(values.shape[1]):
        history.append(100 * (t + 1), [{} if np.isnan(v) else {column: float(v)} for v in values[:, t]])
    scores = [float(row[-1]) for row in values]
    return Run("CartPole-v1", bx.DQN(), 1000, seeds, "compiled", {}, history, scores=scores)


def rows_of(drawing: str) -> list[str]:
    """The ten rows of the drawing, without their labels, from the top."""
    rows = [line.partition("│")[2] for line in drawing.splitlines() if "│" in line]
    assert len(rows) == 10
    assert {len(row) for row in rows} == {60}
    return rows


def test_one_rising_seed_is_a_rising_line() -> None:
    drawing = curve(make_run(RISING[None]))
    rows = rows_of(drawing)
    heights = [9 - next(i for i, row in enumerate(rows) if row[x] == "█") for x in range(60)]
    assert (heights[0], heights[-1]) == (0, 9)
    assert heights == sorted(heights)
    assert "░" not in "".join(rows)
    lines = drawing.splitlines()
    assert lines[0].startswith("        9 │")
    assert lines[9].startswith("        0 │")
    assert lines[-2].split() == ["100", "1,000"]
    assert lines[-1].strip() == "rollout/ep_rew_mean over environment steps: mean (█) and range (░) of 1 seed"


def test_three_seeds_show_their_range() -> None:
    drawing = curve(make_run(np.stack([RISING, RISING - 3.0, RISING + 3.0])))
    rows = rows_of(drawing)
    for x in range(60):
        column = "".join(row[x] for row in rows)
        assert column.count("█") == 1
        assert "░" in column
        assert set(column.strip()) <= {"█", "░"}  # one piece, the mean within it
    assert "3 seeds" in drawing
    assert drawing.startswith("       12 │")


def test_the_best_column_is_drawn() -> None:
    run = make_run(RISING[None])
    run.history = History([0])
    for t in range(10):
        run.history.append(100 * (t + 1), {"rollout/ep_rew_mean": 1.0, "eval/mean_reward": [5.0 + t]})
    assert "eval/mean_reward over" in curve(run)
    assert rows_of(curve(run))[0][-1] == "█"


def test_gaps_are_bridged_and_empty_records_left_out() -> None:
    late = np.concatenate([np.full(4, NAN), RISING])
    gap = np.where(np.arange(14) == 8, NAN, late)
    drawing = curve(make_run(np.stack([late, gap])))
    assert drawing.splitlines()[-2].split() == ["500", "1,400"]
    assert sum(row.count("█") for row in rows_of(drawing)) == 60
    assert "nan" not in drawing


@pytest.mark.parametrize("values", [[[3.0, 3.0]], [[NAN, 3.0]], [[-2.0, -2.0], [-2.0, -2.0]]])
def test_constant_curves(values: list[list[float]]) -> None:
    rows = rows_of(curve(make_run(np.array(values))))
    assert rows[-1] == "█" * 60


def test_values_without_end_have_no_height() -> None:
    run = make_run(np.stack([np.where(RISING < 3, -np.inf, RISING), RISING]), "exact/policy_return")
    assert curve(run).splitlines()[9].startswith("        0 │")


@pytest.mark.parametrize("values", [[[3.0]], [[NAN, NAN]], [[-np.inf, -np.inf]]])
def test_nothing_to_draw(values: list[list[float]]) -> None:
    assert curve(make_run(np.array(values))) == ""


def test_the_summary_of_a_run() -> None:
    run = make_run(np.stack([RISING, RISING + 1.0, RISING + 2.0]))
    text = describe_run(run)
    assert "dqn on CartPole-v1, 1,000 steps, compiled loop" in text
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]
    assert table == [["0", "9", "9"], ["1", "10", "10"], ["2", "11", "11"]]
    assert "mean 10, range 9 to 11 over 3 seeds; intervals need 5 seeds" in text
    assert "saved in" not in text
    run.folder = Path("runs/x")
    assert "next: bellmax eval runs/x --episodes 100" in describe_run(run)


def test_of_many_seeds_the_first_are_shown() -> None:
    text = describe_run(make_run(np.tile(RISING, (10_000, 1))))
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line[:1] == "│"]
    assert rows == [str(seed) for seed in range(20)]
    assert "... and 9,980 more" in text
    assert "over 10,000 seeds" in text
    assert "more" not in describe_run(make_run(np.tile(RISING, (20, 1))))


def optimal_run(rows: list[str]) -> Run:
    """A run whose seeds' greedy policies are optimal (1) or not (0) at the records 100, 200, ..."""
    run = make_run(np.array([[0.0] * len(row) for row in rows]))
    history = History(run.seeds)
    for t, record in enumerate(zip(*rows, strict=True)):
        history.append(100 * (t + 1), {"exact/is_optimal": [float(bit) for bit in record], "exact/q_error": 0.0})
    run.history = history
    return run


@pytest.mark.parametrize(
    ("rows", "steps", "words"),
    [
        (["0011"], [300], "policy optimal from step 300"),
        (["1101"], [400], "policy optimal from step 400"),
        (["1110"], [np.inf], "policy optimal at the end in 0 of 1 seed"),
        (["1111"] * 5, [100] * 5, "policy optimal from step 100 [100, 100], median over seeds; 5 of 5 seeds"),
        (["0001", "0111", "0011"], [400, 200, 300], "from step 300, median over seeds; 3 of 3 seeds"),
        (["0001", "0111", "0010"], [400, 200, np.inf], "from step 400, median over seeds; 2 of 3 seeds"),
        (
            ["0001", "0111", "0010", "0001", "0001"],
            [400, 200, np.inf, 400, 400],
            "from step 400 [200, never], median over seeds; 4 of 5 seeds",
        ),
        (["0000", "0111", "0010"], [np.inf, 200, np.inf], "policy optimal at the end in 1 of 3 seeds"),
        (["0000", "0111"], [np.inf, 200], "policy optimal at the end in 1 of 2 seeds"),
    ],
)
def test_when_the_policy_became_optimal_for_good(rows: list[str], steps: list[float], words: str) -> None:
    run = optimal_run(rows)
    found = run.steps_to_optimal()
    assert found.steps.tolist() == steps
    assert found.median == np.median(steps)
    assert np.isnan(found.low) == (len(rows) < 5)
    assert words in describe_run(run)
    last = numbers(run)["steps_to_optimal"]
    assert last["steps"] == steps
    assert last["median"] == found.median


def test_without_a_truth_nothing_is_said_of_it() -> None:
    run = make_run(RISING[None])
    with pytest.raises(bx.ConfigError, match="there was no exact answer for CartPole-v1"):
        run.steps_to_optimal()
    assert "optimal" not in describe_run(run)
    assert "steps_to_optimal" not in numbers(run)


def test_intervals() -> None:
    assert with_interval(475.31, 471.0, 488.2) == "475.3 [471, 488.2]"
    assert with_interval(1.5, NAN, NAN) == "1.5"
    assert (
        describe_summary(summarize(np.array([2.0])))
        == "IQM 2, mean 2, range 2 to 2 over 1 seed; intervals need 5 seeds"
    )


def test_seeds_whose_policy_never_ends_are_counted_beside_the_curve() -> None:
    run = make_run(
        np.stack([RISING, np.where(RISING > 5.0, -np.inf, RISING), np.where(RISING == 4.0, -np.inf, RISING)])
    )
    assert "left out where the policy never ends: 2 seeds at some point, 1 at the end" in curve(run)
    assert "never ends" not in curve(make_run(RISING[None]))


def test_a_training_return_that_does_not_exist_is_a_dash() -> None:
    text = describe_run(make_run(np.array([[1.0, 2.0], [NAN, NAN]])))
    assert [line.split()[-2] for line in text.splitlines() if line.startswith("│ ")] == ["2", "-"]


def test_no_number_is_cut_off_in_a_file() -> None:
    mdp = FiniteMDP.from_gymnasium("Taxi-v4")
    solution = bx.solve(mdp, 0.99)
    result = {"world": "Taxi-v4", "gamma": 0.99, "return_within_limit": 7.93, "max_episode_steps": 200}
    text = describe_solution(mdp, solution, result)
    assert "…" not in text
    assert "... and 436 more states; --json lists all" in text
    row = next(line for line in text.splitlines() if line.startswith("│     1 │"))
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["1", f"{solution.v[1]:.6g}", "pickup", *(f"{q:.6g}" for q in solution.q[1])]
