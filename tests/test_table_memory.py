"""Memory of tables: what they need is known before they are made, and what is large is not copied at every record."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces as native

import bellmax as bx
from bellmax import machine
from bellmax.catalog import AGENTS, make_agent
from bellmax.contracts import ResourceError
from bellmax.files.checkpoint import leaves
from bellmax.loops import table_memory
from bellmax.tabular.agent import Shape
from bellmax.tabular.stepping import init_state

TABULAR = [name for name in AGENTS if AGENTS.place(name).startswith("bellmax.tabular")]


class Big(gym.Env[Any, Any]):
    action_space = native.Discrete(4)

    def __init__(self, n: int) -> None:
        self.observation_space = native.Discrete(n)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return 0, 1.0, self.t > 2, False, {}


def test_a_table_that_cannot_fit_is_refused_at_once_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: machine.Free(10 * 10**9))
    begin = time.perf_counter()
    with pytest.raises(ResourceError, match=r"2,000,000,000 rows x 4 actions .* needs 256.0 GB, and 10.0 GB") as e:
        bx.train(functools.partial(Big, 2 * 10**9), "q-learning", steps=100)
    assert time.perf_counter() - begin < 5.0
    rows = int(str(e.value).split("about ")[1].split(" rows")[0].replace(",", ""))
    shape = Shape(rows, 4)
    assert table_memory.bytes_for(bx.QLearning(), shape) == pytest.approx(8e9, rel=1e-3)
    table_memory.check_room(bx.QLearning(), shape, "big", 1)
    with pytest.raises(ResourceError, match="of each of 2 seeds"):
        bx.train(functools.partial(Big, rows), "q-learning", steps=100, seeds=2)


@pytest.mark.parametrize("agent", TABULAR)
def test_what_a_learner_needs_is_known_without_making_it(agent: str) -> None:
    config, shape = make_agent(agent, "", {}), Shape(1_000, 3)
    state = init_state(config.make(shape), shape, 0.0, 0)
    policies = 3 * 16 * 1_000 * 3
    assert table_memory.bytes_for(config, shape) - policies == sum(leaf.nbytes for _, leaf in leaves(state))


@pytest.mark.parametrize("initial_q", [0.0, 0.5])
def test_a_large_table_is_not_copied_at_every_record(
    initial_q: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(table_memory, "LARGE", 10)
    config = bx.QLearning(initial_q=initial_q)
    copies: list[int] = []
    owned = bx.Policy.owned
    monkeypatch.setattr(bx.Policy, "owned", lambda policy: copies.append(1) or owned(policy))
    options: dict[str, Any] = {"steps": 400, "records": 20, "eval_episodes": 2, "final_episodes": 1}
    run = bx.train(functools.partial(Big, 100), config, out=tmp_path / "run", **options)
    assert len(copies) == 1  # later ones were not better
    assert not np.shares_memory(run.policies["best"][0].arrays["q"], run.policies["final"][0].arrays["q"])
    monkeypatch.undo()
    small = bx.train(functools.partial(Big, 100), config, **options)
    for which in ("final", "best"):
        for name in ("q", "visits"):
            mine, other = run.policies[which][0].arrays[name], small.policies[which][0].arrays[name]
            np.testing.assert_array_equal(mine, other)
            np.testing.assert_array_equal(bx.load(tmp_path / "run").policies[which][0].arrays[name], other)


def test_a_table_of_which_little_is_touched_takes_little() -> None:
    before, begin = machine.resident_mb(), time.perf_counter()
    run = bx.train(functools.partial(Big, 2 * 10**7), "q-learning", steps=500, eval_episodes=0, final_episodes=1)
    assert run.policy().arrays["visits"][0].sum() == 500
    assert machine.resident_mb() - before < 300  # its values and visits are 1.3 GB
    assert time.perf_counter() - begin < 20
