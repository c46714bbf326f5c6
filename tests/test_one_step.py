"""The steps by hand in examples/ are what the loops do, bit by bit."""

import runpy
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.loops.choosing import make_loop
from bellmax.sources import find_world

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import one_q_step
import one_step


def test_a_round_of_dqn_by_hand_is_the_compiled_loop() -> None:
    source, config = find_world("CartPole-v1"), one_step.CONFIG
    loop, steps = make_loop(config, source, "compiled", one_step.STEPS), 120
    looped = loop.advance(loop.start([0]), 0, steps)[0]
    world = source.compile()
    parts, state, run_key = one_step.begin(world, config, seed=0)
    act = jax.jit(lambda state, t, key: one_step.act_and_store(world, config, parts, state, t, key))
    learn = jax.jit(lambda state, key: one_step.learn(config, parts, state, key))
    for t in range(steps):
        key = jax.random.fold_in(run_key, t)
        state = act(state, jnp.int32(t), key)
        if t + 1 > config.learning_starts:
            state = learn(state, key)
    same(state.params, looped.learner.params)
    same(state.target, looped.learner.target_params)
    same(state.moments, looped.learner.optimizer)
    same(state.memory, looped.memory)
    assert int(state.updates) == steps - config.learning_starts


def same(one: Any, other: Any) -> None:
    """The same bits."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_q_learning_by_hand_is_the_compiled_loop() -> None:
    source = find_world("cliff")
    loop = make_loop(one_q_step.CONFIG, source, "compiled", one_q_step.STEPS)
    (looped,) = loop.advance(loop.start([0]), 0, one_q_step.STEPS)[0]
    world, agent, rates, state = one_q_step.begin(source, one_q_step.CONFIG, seed=0)
    for t in range(one_q_step.STEPS):
        state = one_q_step.one_step(world, agent, rates, state, t)
    assert np.abs(looped.q).max() > 1.0
    np.testing.assert_array_equal(state.table.q, looped.q)
    np.testing.assert_array_equal(state.table.visits, looped.visits)


def test_a_step_of_dqn_is_read_in_one_sitting() -> None:
    files = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "step_files.py"))["files_of_a_step"]()
    assert len(files) <= 10
    assert sum(files.values()) <= 900
