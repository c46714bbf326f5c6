"""The gradient steps of a round, as both loops make them: when they begin, and what they leave in the memory."""

import jax
import jax.numpy as jnp
import numpy as np

import bellmax as bx
from bellmax.contracts import Box, Experience, Transition
from bellmax.keys import make_key
from bellmax.loops.network_learning import make_improver

CONFIG = bx.DQN(
    prioritized=True, batch_size=8, buffer_size=16, learning_starts=100, gradient_steps=2, net_arch=(8,)
)  # fmt: skip


def test_learning_begins_after_its_start_and_writes_its_errors_back() -> None:
    agent = CONFIG.make(Box((2,)), 2, 1_000)
    kept, rng = agent.memory.init(), np.random.default_rng(0)
    for _ in range(16):
        obs, after = rng.normal(size=(2, 1, 2)).astype(np.float32)
        step = Transition(obs, np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(1, np.float32), after)
        kept = agent.memory.add(kept, Experience(jax.tree.map(jnp.asarray, step), jnp.zeros(1, jnp.int32)))
    mind, improve = (agent.init(make_key(0)), kept), jax.jit(make_improver(agent, CONFIG))
    (learner, same), metrics = improve(mind, 100, make_key(1))
    for one, other in zip(jax.tree.leaves((learner, same)), jax.tree.leaves(mind), strict=True):
        np.testing.assert_array_equal(one, other)
    assert metrics["learned"] == 0
    (learner, changed), metrics = improve(mind, 101, make_key(1))
    assert (int(learner.updates), float(metrics["learned"])) == (2, 1.0)
    before, after = (np.asarray(memory.sampler.levels[-1])[:16] for memory in (kept, changed))
    assert (before == 1).all()
    assert (after != 1).sum() >= 5  # of two batches of 8
