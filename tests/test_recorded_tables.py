"""Recorded steps of tables end in the bits of the loops, and their numbers follow from each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from recordings import recorded, same_bits

import bellmax as bx
from bellmax.catalog import AGENTS, is_tabular, make_agent
from bellmax.loops.choosing import make_data_loop, make_loop, prepare_for_data
from bellmax.recording.table_recorders import CompiledTableRecorder, DataTableRecorder, HostTableRecorder
from bellmax.recording.window import Phase, RecordedStep, Term
from bellmax.sources import find_world
from bellmax.tabular.agent import TabularConfig

STEPS = 2_000
TABLES = [name for name in AGENTS.built_in if is_tabular(make_agent(name, "", {}))]
ONE_STEP = ("q-learning", "sarsa", "expected-sarsa", "dyna-q", "dyna-q-plus")


def config_of(agent: str, **settings: Any) -> TabularConfig:
    config = make_agent(agent, "", {"gamma": 0.9, **settings})
    assert is_tabular(config)
    return config


def loop_dump(config: TabularConfig, world: Any, kind: str, steps: int) -> dict[str, np.ndarray]:
    loop = make_loop(config, find_world(world), kind, STEPS)
    state, _, _ = loop.go(loop.start([0]), 0, steps, lambda: False)
    try:
        return loop.dump(state)
    finally:
        loop.close(state)


def compiled(config: TabularConfig, world: str, at: int, count: int) -> list[RecordedStep]:
    """A window of the compiled loop, which ends in the bits of the loop."""
    recorder = CompiledTableRecorder(config, find_world(world), STEPS, episodes=False)
    steps = recorded(recorder, at, count)
    same_bits(recorder.dump(), loop_dump(config, world, "compiled", at + count))
    assert [step.t for step in steps] == list(range(at, at + count))
    return steps


def phase(step: RecordedStep, name: str) -> Phase:
    (found,) = (each for each in step.phases if each.name == name)
    return found


def terms(step: Phase) -> dict[str, float | list[float]]:
    return {part.symbol: part.value for part in step.equation if isinstance(part, Term)}


def check_update(step: RecordedStep) -> None:
    """The value that moves ends where its step size and its target say, to the last bit."""
    values: dict[str, Any] = phase(step, "update").values
    target = terms(phase(step, "target"))["y"]
    assert values["q_after"] == values["q_before"] + values["step_size"] * (target - values["q_before"])
    assert values["td_error"] == values["kernel_td_error"] == target - values["q_before"]
    if values["q_after"] != values["q_before"]:
        assert values["n_changed"] == 1
        assert values["changed"][0]["after"] == values["q_after"]


def check_target(step: RecordedStep) -> None:
    """A target is r + γ · bootstrap, to the last bit."""
    values: dict[str, Any] = phase(step, "target").values
    assert values["target"] == values["reward"] + values["discount"] * values["bootstrap"]
    taken: dict[str, Any] = phase(step, "step").values
    assert taken["reward"] == values["reward"]
    assert (taken["discount"] == 0.0) == taken["terminated"]


def check_choice(step: RecordedStep) -> None:
    """The choice follows from the numbers that it is said to follow from."""
    values: dict[str, Any] = phase(step, "choose").values
    assert values["explored"] == (values["coin"] < values["epsilon"])
    if not values["explored"]:
        assert values["action"] == values["greedy_action"] == int(np.argmax(values["q"]))
    assert phase(step, "step").values["action"] == values["action"]


@pytest.mark.parametrize("agent", TABLES)
def test_a_window_of_a_table_ends_in_the_bits_of_the_compiled_loop(agent: str) -> None:
    steps = compiled(config_of(agent, initial_q=0.5), "FrozenLake-v1", 300, 60)
    assert any(each.name == "reset" for step in steps for each in step.phases)
    for step in steps:
        check_choice(step)
        if agent in ONE_STEP:
            check_update(step)
            check_target(step)
    json.dumps([each.values for step in steps for each in step.phases], allow_nan=False)


@pytest.mark.parametrize("agent", ["q-learning", "double-q", "sarsa", "q-sigma"])
def test_a_window_from_the_first_step_on(agent: str) -> None:
    (first, *_) = compiled(config_of(agent), "FrozenLake-v1", 0, 25)
    check_choice(first)
    assert phase(first, "choose").values["epsilon"] == 1.0


@pytest.mark.parametrize("exploration", ["boltzmann", "ucb"])
def test_other_ways_to_explore(exploration: str) -> None:
    steps = compiled(config_of("q-learning", exploration=exploration), "cliff", 200, 20)
    for step in steps:
        values: dict[str, Any] = phase(step, "choose").values
        if exploration == "boltzmann":
            weights = np.exp((np.array(values["q"]) - max(values["q"])) / values["temperature"])
            np.testing.assert_allclose(values["probabilities"], weights / weights.sum(), rtol=1e-12)
            place = np.searchsorted(np.cumsum(values["probabilities"]), values["coin"])
            assert place == values["action"]
        else:
            tried = [np.inf if bound is None else bound for bound in values["bounds"]]  # untried ones first
            assert values["action"] == int(np.argmax(tried))


def test_actions_of_a_model_whose_states_lack_some() -> None:
    steps = compiled(config_of("q-learning", random_ties=True), "gamblers-problem", 100, 40)
    for step in steps:
        values: dict[str, Any] = phase(step, "choose").values
        assert values["q"][values["action"]] is not None
        assert None in values["q"]


@pytest.mark.parametrize("agent", ["q-learning", "sarsa-lambda", "true-online-sarsa", "peng-q", "n-step-sarsa"])
def test_tiles_of_classic_control(agent: str) -> None:
    steps = compiled(config_of(agent, tilings=8, bins=6), "CartPole-v1", 250, 40)
    for step in steps:
        assert len(phase(step, "observe").values["obs"]["tiles"]) == 8  # type: ignore[arg-type, call-overload, index]
        if agent == "q-learning":
            values: dict[str, Any] = phase(step, "update").values
            for cell in values["changed"]:
                change = values["step_size"] * values["td_error"] / 8
                assert cell["after"] == cell["before"] + change


@pytest.mark.parametrize("agent", ["sarsa-lambda", "watkins-q"])
def test_every_pair_moves_by_its_trace(agent: str) -> None:
    for step in compiled(config_of(agent), "cliff", 300, 40):
        values: dict[str, Any] = phase(step, "update").values
        traces: dict[str, Any] = phase(step, "trace").values
        assert values["error"] == values["kernel_td_error"] == phase(step, "target").values["td_error"]
        for pair in values["pairs"]:
            assert pair["after"] == pair["before"] + pair["step_size"] * values["error"] * pair["trace"]
        assert values["pairs"][0]["trace"] == traces["traces"][0]["trace"] == 1.0
        faded: dict[str, Any] = phase(step, "fade").values
        kept = {(each["state"], each["action"]): each["trace"] for each in faded["traces"]}
        for pair in values["pairs"][:3]:
            wanted = pair["trace"] * faded["factor"]
            assert kept.get((pair["state"], pair["action"]), 0.0) == (wanted if wanted > 1e-6 else 0.0)


def test_true_online_sarsa_moves_by_error_and_drift() -> None:
    for step in compiled(config_of("true-online-sarsa"), "cliff", 300, 40):
        values: dict[str, Any] = phase(step, "update").values
        s, a = phase(step, "step").values["obs"], phase(step, "step").values["action"]
        for pair in values["pairs"]:
            after = pair["before"] + values["error"] * pair["trace"]
            if (pair["state"], pair["action"]) == (s, a):
                after += -values["step_size"] * values["drift"]
            assert pair["after"] == after


@pytest.mark.parametrize("agent", ["n-step-sarsa", "tree-backup", "q-sigma"])
def test_returns_of_several_steps(agent: str) -> None:
    seen = 0
    for step in compiled(config_of(agent), "cliff", 300, 60):
        for target, update in zip(
            (each for each in step.phases if each.name == "target"),
            (each for each in step.phases if each.name == "update"),
            strict=True,
        ):
            values: dict[str, Any] = update.values
            goal: Any = target.values["target"]
            assert values["q_after"] == values["q_before"] + values["step_size"] * (goal - values["q_before"])
            returns: Any = target.values["returns"]
            assert returns[0] == goal
            seen += 1
            if agent == "n-step-sarsa":
                rewards: Any = terms(target)["r"]
                total: Any = target.values["bootstrap"]
                discounts = [0.9] * len(rewards)
                if terms(target)["γⁿ"] == 0.0:
                    discounts[-1] = 0.0
                for reward, discount in zip(rewards[::-1], discounts[::-1], strict=True):
                    total = reward + discount * total
                assert total == goal
    assert seen > 30


def test_double_q_moves_one_of_its_tables_by_the_other() -> None:
    tables = set()
    for step in compiled(config_of("double-q"), "cliff", 300, 40):
        target: dict[str, Any] = phase(step, "target").values
        values: dict[str, Any] = phase(step, "update").values
        assert target["target"] == target["reward"] + target["discount"] * target["bootstrap"]
        assert target["bootstrap"] == target["next_q_other"][target["best_action"]]
        assert target["best_action"] == int(np.argmax(target["next_q"]))
        error = target["target"] - values["table_before"]
        assert values["table_after"] == values["table_before"] + values["step_size"] * error
        assert values["q_after"] == values["q_before"] + 0.5 * values["step_size"] * error
        tables.add(values["table"])
    assert tables == {1, 2}


def test_expected_sarsa_averages_over_the_behavior() -> None:
    for step in compiled(config_of("expected-sarsa"), "cliff", 300, 20):
        values: dict[str, Any] = phase(step, "target").values
        mean = sum(p * q for p, q in zip(values["probabilities"], values["next_q"], strict=True))
        assert mean == pytest.approx(values["bootstrap"], rel=1e-12)


def test_each_planned_update_of_dyna_q() -> None:
    for step in compiled(config_of("dyna-q"), "cliff", 300, 20):
        values: dict[str, Any] = phase(step, "plan").values
        assert len(values["planned"]) == values["n_planned"] == 10
        for plan in values["planned"]:
            assert plan["target"] == plan["reward"] + plan["following"]
            assert plan["q_after"] == plan["q_before"] + plan["step_size"] * (plan["target"] - plan["q_before"])
        model: dict[str, Any] = phase(step, "model").values
        assert sum(each["seen"] for each in model["after"]) == model["visits"]


def test_prioritized_sweeping_plans_the_most_urgent_pairs() -> None:
    planned = 0
    for step in compiled(config_of("prioritized-sweeping"), "cliff", 300, 30):
        plans: Any = phase(step, "plan").values["planned"]
        queue: Any = phase(step, "queue").values["queue"]
        if plans:
            assert plans[0]["priority"] == queue[0]["priority"] == max(each["priority"] for each in queue)
        for plan in plans:
            assert plan["q_after"] == plan["q_before"] + (plan["target"] - plan["q_before"])
            total = sum(each["seen"] for each in plan["outcomes"])
            assert total > 0
            planned += 1
    assert planned > 10


def test_r_max_solves_its_model_when_a_pair_becomes_known() -> None:
    steps = compiled(config_of("r-max", known_after=3), "cliff", 100, 120)
    solved = [step for step in steps if phase(step, "plan").values["solved"]]
    assert solved
    for step in steps:
        values: dict[str, Any] = phase(step, "plan").values
        assert values["solved"] or values["n_changed"] == 0
        assert values["solved"] == (values["visits"] in (3, 6, 12, 24, 48, 96))


def test_delayed_q_waits_for_its_targets() -> None:
    attempts = 0
    for step in compiled(config_of("delayed-q", samples=3), "cliff", 100, 200):
        store: dict[str, Any] = phase(step, "store").values
        values: dict[str, Any] = phase(step, "update").values
        assert values["attempted"] == (store["learning"] and store["gathered"] == 3)
        if phase(step, "update").equation:
            assert values["q_after"] == pytest.approx(values["mean"] + values["margin"], rel=1e-12)
            attempts += 1
        else:
            assert values["q_after"] == values["q_before"]
    assert attempts > 5


def test_speedy_q_ends_its_rounds() -> None:
    steps = compiled(config_of("speedy-q"), "corridor", 0, 120)
    rounds = [phase(step, "sync").values["round"] for step in steps if any(p.name == "sync" for p in step.phases)]
    assert len(rounds) > 3
    assert rounds == list(range(1, len(rounds) + 1))


def test_monte_carlo_learns_at_the_end_of_an_episode() -> None:
    steps = compiled(config_of("monte-carlo"), "corridor", 0, 150)
    ends = [step for step in steps if any(each.name == "reset" for each in step.phases)]
    assert ends
    for step in ends:
        values: dict[str, Any] = phase(step, "update").values
        for pair in values["pairs"]:
            moved = pair["q_before"] + pair["step_size"] * (pair["return"] - pair["q_before"])
            assert pair["q_after"] == moved
    assert all(any(each.name == "wait" for each in step.phases) for step in steps if step not in ends)


@pytest.mark.parametrize("agent", ["q-learning", "sarsa-lambda", "dyna-q"])
def test_a_window_in_gymnasium_ends_in_the_bits_of_the_loop(agent: str) -> None:
    config = config_of(agent)
    recorder = HostTableRecorder(config, find_world("CliffWalking-v1"), STEPS, episodes=False)
    steps = recorded(recorder, 120, 30)
    dumped = recorder.dump()
    recorder.close()
    same_bits(dumped, loop_dump(config, "CliffWalking-v1", "host", 150))
    for step in steps:
        check_choice(step)
        if agent == "q-learning":
            check_update(step)


def test_a_window_in_vector_environments() -> None:
    def four() -> gym.vector.VectorEnv:  # type: ignore[type-arg]
        return gym.make_vec("FrozenLake-v1", num_envs=3, vectorization_mode="sync")

    config = config_of("q-learning")
    recorder = HostTableRecorder(config, find_world(four()), STEPS, episodes=False)
    steps = recorded(recorder, 90, 30)
    same_bits(recorder.dump(), loop_dump(config, four(), "host", 120))
    recorder.close()
    assert [step.t for step in steps] == list(range(90, 120, 3))


@pytest.mark.parametrize("agent", ["q-learning", "double-q", "prioritized-sweeping"])
def test_a_window_of_learning_from_data(agent: str) -> None:
    source, asked = find_world("cliff"), config_of(agent)
    data = bx.collect(None, "cliff", steps=300, seed=3)
    config: Any = prepare_for_data(asked, source, data)
    recorder = DataTableRecorder(config, source, "compiled", STEPS, data)
    steps = recorded(recorder, 200, 30)
    loop: Any = make_data_loop(config, source, "compiled", STEPS, data)
    same_bits(recorder.dump(), loop.dump(loop.go(loop.start([0]), 0, 230, lambda: False)[0]))
    for step in steps:
        sample: dict[str, Any] = phase(step, "sample").values
        assert sample["index"] == int(sample["draw"] * 300)
        assert sample["reward"] == float(np.asarray(data.reward)[sample["index"]])
        if agent == "q-learning":
            check_update(step)


def test_an_update_of_your_own_shows_its_error_and_what_changed() -> None:
    from bellmax.tabular.action_values import change, largest, value
    from bellmax.tabular.agent import Shape, TabularAgent
    from bellmax.tabular.behavior import find_behavior
    from bellmax.tabular.kernel import kernel

    @kernel
    def half(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
        td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
        change(q, step.obs, step.action, 0.5 * step.step_size * td_error)
        return td_error

    class Half(bx.QLearning):
        name = "half"

        def make(self, shape: Shape) -> TabularAgent:
            return TabularAgent(half, find_behavior(self))

    for step in compiled(Half(gamma=0.9), "cliff", 50, 10):
        values: dict[str, Any] = phase(step, "update").values
        moved = values["q_before"] + 0.5 * values["step_size"] * values["td_error"]
        assert values["q_after"] == moved
        assert "half(" in phase(step, "update").code


def test_each_line_of_code_is_in_the_files() -> None:
    root = Path(__file__).parents[1]
    files = [*(root / "examples").glob("*.py"), *(root / "bellmax").rglob("*.py")]
    text = " ".join(
        " ".join(path.read_text(encoding="utf-8").split()) for path in files if path.parent.name != "recording"
    )
    squeezed = text.replace(" ", "")
    for agent in ("q-learning", "sarsa-lambda", "q-sigma", "dyna-q", "double-q", "speedy-q", "delayed-q", "r-max"):
        for step in compiled(config_of(agent), "corridor", 20, 12):
            for each in step.phases:
                assert each.code.replace(" ", "") in squeezed, each.code
