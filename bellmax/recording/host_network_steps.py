"""JAX. Record the blocks of a network in Gymnasium environments: a block of vector steps, then the rounds on it.

The loop itself steps the environments and learns; what its thread does with a block is done once more, part by part,
on copies of the states before.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Experience, Obs
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import Carry
from bellmax.dispatch import making_near
from bellmax.keys import APART
from bellmax.loops.network_gymnasium import GymnasiumNetwork, NetworkRun
from bellmax.loops.network_learning import LearnerAndMemory, ranks
from bellmax.recording.acting_steps import choose_phase, end_phase, make_view, step_phase
from bellmax.recording.learning_steps import make_learning, record_learning
from bellmax.recording.pqn_steps import make_fresh_learning, record_fresh_learning
from bellmax.recording.sampled import store_phase_of
from bellmax.recording.window import Phase, RecordedStep, first_rows
from bellmax.sources import Source
from bellmax.trees import tree_map


class BlockRecorder:
    """Records blocks: the parts of `GymnasiumNetwork`, compiled one by one."""

    def __init__(self, config: DeepConfig, source: Source, steps: int) -> None:
        """Prepare for a run of `steps` environment steps."""
        self.config, self.loop = config, GymnasiumNetwork(config, source, steps)
        agent, shapes = self.loop.agent, (source.space, source.n_actions, steps)
        self.n, self.agent = config.num_envs, agent
        self.view, self.before = make_view(config, agent, *shapes), jax.jit(self.before_step)
        self.fresh, self.learning = make_fresh_learning(config, *shapes), make_learning(config, agent, *shapes)
        self.add = jax.jit(agent.memory.add)
        self.key_of = jax.jit(lambda key, t: jax.random.fold_in(key, 2 * t + 1))
        self.block = self.loop.length * self.n  # environment steps of a block

    def before_step(self, carry: Carry, over: Array, key: Array, t: Array) -> tuple[Array, Carry]:
        """Return the keys [N] and the carry [N] with which the agent acts, as `make_vector_actor` makes them."""
        key = jax.random.fold_in(key, 2 * t)
        fresh = jax.vmap(self.agent.begin)(jax.random.split(jax.random.fold_in(key, APART), self.n), ranks(self.n))
        one: Any = jax.vmap(lambda old, new, over: tree_map(lambda x, y: jnp.where(over, x, y), new, old))
        return jax.random.split(key, self.n), one(carry, fresh, over)

    def record(self, run: NetworkRun, t: int) -> list[RecordedStep]:
        """Record the block that begins at `t`, which ends early where the run does."""
        with making_near():  # programs are not given arrays of two places
            return self.record_near(run, t)

    def record_near(self, run: NetworkRun, t: int) -> list[RecordedStep]:
        """Record a block; new arrays are made near."""
        steps, rows = list[RecordedStep](), list[tuple[Experience, np.ndarray]]()
        while True:
            steps.append(self.record_step(run, t))
            rows.append(run.pending[-1])
            t += self.n
            run.t = t
            if len(run.pending) == self.loop.length or t == self.loop.last:
                break
        both = tree_map(jnp.copy, run.block.result()[0])  # the thread overwrites its own
        self.loop.submit(run, t)
        return self.record_rounds(run, both, rows, steps)

    def record_step(self, run: NetworkRun, t: int) -> RecordedStep:
        """Step every environment once, by the loop, and record the first."""
        obs, score = run.obs, float(run.episodes.running_return[0])
        length = int(run.episodes.running_length[0])
        keys, carry = self.before(run.carry, run.over, run.key, np.int32(t))
        found = self.view(run.actor, carry, as_arrays(obs), keys, np.int32(t))
        self.loop.step(run, t)
        experience, valid = run.pending[-1]
        over, step = bool(np.asarray(experience.over)[0]), experience.transition
        terminated = over and float(np.asarray(step.discount)[0]) == 0.0
        score += float(np.asarray(step.reward)[0])
        choose = choose_phase(self.config, found, np.asarray(step.action))
        phases = [Phase("observe", {"obs": first_rows(obs, 1)[0]}), choose]
        phases.append(step_phase(experience, terminated, score, n=self.n))
        if not valid[0]:
            phases[-1] = Phase("step", {"left_out": True, "why": "the environment reset itself or was recreated"})
        if over:
            phases.append(end_phase(score, length + 1, run.obs))
        return RecordedStep(t, length, tuple(phases))

    def record_rounds(
        self, run: NetworkRun, both: LearnerAndMemory, rows: list[tuple[Experience, np.ndarray]],
        steps: list[RecordedStep],
    ) -> list[RecordedStep]:  # fmt: skip
        """Learn once more from the steps of a block, part by part; return the steps with the phases of learning."""
        done, count = list[RecordedStep](), self.config.train_freq
        for k, (step, (experience, valid)) in enumerate(zip(steps, rows, strict=True)):
            learner, before = both
            after = self.add(before, experience, valid)
            stored = store_phase_of(self.config, before, after, experience, valid)
            ended = [phase for phase in step.phases if phase.name == "reset"]
            phases = [phase for phase in step.phases if phase.name != "reset"] + [stored, *ended]
            both = learner, after
            if (k + 1) % count == 0:
                end = step.t + self.n
                key = self.key_of(run.key, np.int32(end))
                if self.fresh is not None:
                    both, learned = record_fresh_learning(self.fresh, self.learning, both, end, key)
                else:
                    both, learned = record_learning(self.learning, both, end, key)
                phases += learned
            done.append(step._replace(phases=tuple(phases)))
        return done


def as_arrays(obs: object) -> Obs:
    """Return the observations of a host environment [N, ...] as a program takes them."""
    arrays: Obs = jax.tree.map(np.asarray, obs)
    return arrays
