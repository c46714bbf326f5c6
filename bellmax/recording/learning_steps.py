"""JAX. Record the gradient steps of a round: sample, target, loss, gradient, update, priorities, sync.

What learns are the functions that every loop calls: `memory.sample`, `agent.learn`, `memory.update`. What is shown of
the inside of `learn` comes from the same loss, called once more on the same batch with the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Batch, Experience, Json, LearnReport, Space, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.building import Built, build_network
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.deep.learner import make_batch_loss, networks_of, transitions_of
from bellmax.deep.optimizer import learning_rate_of
from bellmax.deep.sequences import learned_transitions
from bellmax.deep.state import DeepAgent, LearnerState
from bellmax.loops.network_learning import LearnerAndMemory, compiler_options
from bellmax.networks.packing import Params
from bellmax.recording.network_terms import Parts, transition_terms, with_heads
from bellmax.recording.sampled import sampled_phase, stored_priorities
from bellmax.recording.target_phases import loss_phase, targets_phase
from bellmax.recording.window import Part, Phase, first_rows, term
from bellmax.replay.ring import NOWHERE
from bellmax.trees import tree_map

Inside = Callable[[LearnerState, Batch, Array, Array], tuple[Array, Parts]]
GRADIENT = "gradient = jax.grad(loss_of)(state.params)"
UPDATE = "params, updates = optax.apply_updates(state.params, change), state.updates + 1"
SYNC = "target, params = sync.update(state.target, params, updates, learn_key, batch.obs)"


class Learning(NamedTuple):
    """The compiled parts of a gradient step.

    Attributes:
        config: of the agent.
        sample, learn, update: the functions of the agent and its memory.
        wait: `wait(learner, memory, key) -> memory`, what a round does to it before learning starts.
        inside: `inside(learner, batch, weight, key) -> (gradient norm, terms)`; None if the agent has its own `learn`.
        steps: of the run, on which schedules depend.
    """

    config: DeepConfig
    sample: Callable[[Any, Array, Array], tuple[Batch, Array, Array]]
    learn: Callable[[LearnerState, tuple[Batch, Array], Array], tuple[LearnerState, LearnReport]]
    update: Callable[[Any, Array, Array], Any]
    wait: Callable[[LearnerState, Any, Array], Any]
    inside: Inside | None
    steps: int


def make_learning(config: DeepConfig, agent: DeepAgent, space: Space, n_actions: int, steps: int) -> Learning:
    """Compile the parts of a gradient step of an agent, in a run of `steps`."""

    def wait(learner: LearnerState, kept: object, key: Array) -> object:
        def learned(learner: LearnerState, kept: object, key: Array) -> tuple[Array, Array]:
            batch, weight, index = agent.memory.sample(kept, key, learner.updates)
            return index, agent.learn(learner, (batch, weight), key)[1].priority

        index, priority = jax.eval_shape(learned, learner, kept, key)
        return agent.memory.update(kept, jnp.full(index.shape, NOWHERE, index.dtype), jnp.zeros(priority.shape))

    inside, options = None, compiler_options(space)  # those of the loops: sums in the same order
    if isinstance(config, ReplayAlgorithm) and type(config).make is ReplayAlgorithm.make:
        built = build_network(config, config.method(), space, n_actions)
        inside = jax.jit(make_inside(config, built), compiler_options=options)
    return Learning(
        config, jax.jit(agent.memory.sample, compiler_options=options),
        jax.jit(agent.learn, compiler_options=options), jax.jit(agent.memory.update), jax.jit(wait), inside, steps,
    )  # fmt: skip


def make_inside(config: ReplayAlgorithm, built: Built[Any]) -> Inside:
    """Return what happens inside of `learn`: the norm of the gradient, and the terms of each transition [B].

    Of sequences [B, L], the terms are those of the first one [L - burn_in].
    """
    method, target = config.whole_method(), config.target()
    batch_loss = make_batch_loss(config, method, target, built)
    networks = networks_of(config, method, target, built)

    def inside(state: LearnerState, batch: Batch, weight: Array, key: Array) -> tuple[Array, Parts]:
        gradient, _ = jax.grad(batch_loss, has_aux=True)(state.params, state.target_params, batch, weight, key)
        net, target_net, draws = networks(state.params, state.target_params, weight, key)
        if isinstance(batch, Experience):
            first = jax.tree.map(lambda x: x[0], batch)
            steps = learned_transitions(config, net, target_net, first)
            draws = draws[0]
            heads = with_heads(net.head, "network"), with_heads(target_net.head, "target")
            parts = jax.vmap(lambda step, k: transition_terms(config, method, *heads, step, k))(steps, draws)
            return norm_of(gradient), {**parts, "reward": steps.reward, "discount": steps.discount}
        one: Any = jax.vmap(lambda step, k: transition_terms(config, method, net, target_net, step, k))
        return norm_of(gradient), one(batch, draws)

    return inside


def record_learning(
    learning: Learning, both: LearnerAndMemory, t: int, key: Array
) -> tuple[LearnerAndMemory, list[Phase]]:
    """Take the gradient steps of a round whose last environment step ends at `t`; return the states and the phases."""
    config, phases = learning.config, list[Phase]()
    learner, kept = both
    for g, each in enumerate(jax.random.split(key, config.gradient_steps)):
        if t <= config.learning_starts:
            kept = learning.wait(learner, kept, each)
            continue
        sample_key, learn_key = jax.random.split(each)
        batch, weight, index = learning.sample(kept, sample_key, learner.updates)
        after, report = learning.learn(learner, (batch, weight), learn_key)
        more: dict[str, Json] = {"gradient_step": g} if config.gradient_steps > 1 else {}
        phases.append(sampled_phase(config, learning.steps, kept, batch, weight, index, more))
        phases += inside_phases(learning, learner, batch, weight, learn_key, report)
        phases.append(update_parameters(learning, learner, after))
        kept = learning.update(kept, index, report.priority)
        phases += [*stored_priorities(config, kept, index, report.priority), *sync_phase(config, learner, after)]
        learner = after
    if t <= config.learning_starts:
        phases.append(Phase("wait", {"t": t, "learning_starts": config.learning_starts}))
    return (learner, kept), phases


def inside_phases(
    learning: Learning, learner: LearnerState, batch: Batch, weight: Array, key: Array, report: LearnReport
) -> list[Phase]:
    """Return the phases inside of `learn`: target, loss and gradient; of an own `learn`, only what it reports."""
    config, metrics = learning.config, {name: float(value) for name, value in report.metrics.items()}
    if learning.inside is None or not isinstance(config, ReplayAlgorithm):
        return [Phase("loss", {**metrics, "priorities": first_rows(report.priority)})]
    norm, parts = learning.inside(learner, batch, weight, key)
    found = {name: np.asarray(value) for name, value in parts.items()}
    steps: Transition = transitions_of(batch)
    reward, discount = found.get("reward", np.asarray(steps.reward)), found.get("discount", np.asarray(steps.discount))
    phases = [targets_phase(config, found, reward, discount), loss_phase(config, found, np.asarray(weight), metrics)]
    return [*phases, gradient_phase(config, float(norm))]


def gradient_phase(config: DeepConfig, norm: float) -> Phase:
    """Return the phase of the gradient: its global norm, and by what clipping divides it."""
    limit = config.max_grad_norm
    factor = 1.0 if norm < limit else limit / norm
    values: dict[str, Json] = {"gradient_norm": norm, "max_grad_norm": limit, "clip_factor": factor}
    equation: tuple[Part, ...] = (
        term("‖g‖", "norm of the gradient", norm), "→", term("‖g‖ · c", "after clipping", norm * factor),
    )  # fmt: skip
    return Phase("gradient", values, equation, GRADIENT)


def update_parameters(learning: Learning, before: LearnerState, after: LearnerState) -> Phase:
    """Return the phase in which the optimizer changes the parameters."""
    config, updates = learning.config, int(after.updates)
    change, size = distance(after.params, before.params), float(norm_of(after.params))
    values: dict[str, Json] = {
        "updates": updates, "parameter_change": change, "parameter_norm": size, "optimizer": config.optimizer,
        "learning_rate": rate_at(config, learning.steps, updates - 1),
    }  # fmt: skip
    if "average" in after.following:
        values["average_change"] = distance(after.average, before.average)
    interval = getattr(config, "reset_interval", 0)
    if interval:
        values["network_reset"] = updates % interval == 0 and updates < config.updates(learning.steps)
    equation: tuple[Part, ...] = (
        term("‖θ′ − θ‖", "change of the parameters", change), "at",
        term("η", "learning rate", rate_at(config, learning.steps, updates - 1)),
    )  # fmt: skip
    return Phase("update", values, equation, UPDATE)


def norm_of(tree: Params) -> Array:
    """Return the square root of the sum of all squares, as Optax clips by it."""
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def distance(one: Params, other: Params) -> float:
    """Return the norm of the difference of two trees of arrays."""
    return float(norm_of(tree_map(lambda x, y: x - y, one, other)))


def rate_at(config: DeepConfig, steps: int, updates: int) -> float:
    """Return the learning rate of the gradient step after so many others."""
    rate = learning_rate_of(config, steps)
    return float(rate(updates)) if callable(rate) else float(rate)


def sync_phase(config: DeepConfig, before: LearnerState, after: LearnerState) -> list[Phase]:
    """Return the phase in which the target network follows; [] of an agent without one."""
    if "target" not in after.following or not isinstance(config, ReplayConfig):
        return []
    updates, period = int(after.updates), config.target_period
    moved = distance(after.target_params, before.target_params)
    values: dict[str, Json] = {
        "synced": updates % period == 0, "target_change": moved, "period": period, "tau": config.tau,
        "updates": updates, "next_in": period - updates % period,
    }  # fmt: skip
    if not (isinstance(config, ReplayAlgorithm) and type(config).target.__module__.startswith("bellmax.")):
        values["synced"] = moved > 0.0
    return [Phase("sync", values, code=SYNC)]
