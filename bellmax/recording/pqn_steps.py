"""JAX. Record a round of learning of PQN: fresh steps, their λ-returns, and a gradient step for each minibatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax import bellman
from bellmax.contracts import Array, Experience, Json, Obs, Space
from bellmax.deep.building import build_network
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import allowed, mask_of
from bellmax.deep.pqn import PQN, Data, LearningParts, Piece, learning_parts
from bellmax.deep.state import LearnerState
from bellmax.loops.network_learning import LearnerAndMemory, compiler_options
from bellmax.networks.packing import Params
from bellmax.recording.learning_steps import Learning, gradient_phase, norm_of, update_parameters
from bellmax.recording.network_terms import Parts
from bellmax.recording.window import MOST_ROWS, Part, Phase, first_rows, shown, term


class FreshLearning(NamedTuple):
    """The compiled parts of a round of learning.

    Attributes:
        config: of the agent.
        prepare, step: those of `LearningParts`; the gradient of a step is its norm here.
        values: `values(params, experience)`, by name: the value of the observation after each step, and the prediction
            of each, [T, N].
    """

    config: PQN
    prepare: Callable[[LearnerState, Experience, Array, Array], tuple[LearnerState, Data, Piece]]
    step: Callable[[LearnerState, Data, Piece], tuple[LearnerState, dict[str, Array], Array]]
    values: Callable[[Params, Experience], Parts]


def make_fresh_learning(config: DeepConfig, space: Space, n_actions: int, steps: int) -> FreshLearning | None:
    """Compile the parts of a round of PQN; None of another agent, or of one with a `make` of its own."""
    if not isinstance(config, PQN) or type(config).make is not PQN.make:
        return None
    built = build_network(config, config.method(), space, n_actions)
    parts: LearningParts = learning_parts(config, built, space, steps)

    def step(state: LearnerState, data: Data, piece: Piece) -> tuple[LearnerState, dict[str, Array], Array]:
        state, metrics, gradient = parts.step(state, data, piece)
        return state, metrics, norm_of(gradient)

    def values(params: Params, experience: Experience) -> Parts:
        net, steps = built.network(params, None), experience.transition

        def value(obs: Obs) -> Array:
            return jnp.max(allowed(net(obs), mask_of(obs)))

        def prediction(obs: Obs, action: Array) -> Array:
            return bellman.value_of(net(obs).mean(), action)

        return {
            "value": jax.vmap(jax.vmap(value))(steps.next_obs),
            "prediction": jax.vmap(jax.vmap(prediction))(steps.obs, steps.action),
        }

    options = compiler_options(space)
    compiled = [jax.jit(part, compiler_options=options) for part in (parts.prepare, step, values)]
    return FreshLearning(config, *compiled)


def record_fresh_learning(
    fresh: FreshLearning, learning: Learning, both: LearnerAndMemory, t: int, key: Array
) -> tuple[LearnerAndMemory, list[Phase]]:
    """Learn from the steps since the last round; return the states and the phases."""
    learner, kept = both
    (each,) = jax.random.split(key, 1)
    if t <= fresh.config.learning_starts:
        waiting = Phase("wait", {"t": t, "learning_starts": fresh.config.learning_starts})
        return (learner, learning.wait(learner, kept, each)), [waiting]
    sample_key, learn_key = jax.random.split(each)
    batch, weight, index = learning.sample(kept, sample_key, learner.updates)
    assert isinstance(batch, Experience)  # noqa: S101 - that of a rollout
    after, report = learning.learn(learner, (batch, weight), learn_key)
    state, data, pieces = fresh.prepare(learner, batch, weight, learn_key)
    found = {name: np.asarray(part)[:, 0] for name, part in fresh.values(state.params, batch).items()}
    returns = np.asarray(data[0].reward).reshape(np.asarray(weight).shape)[:, 0]
    phases = [sampled(fresh.config, weight), returns_phase(fresh.config, batch, found, returns)]
    losses, norms = list[float](), list[float]()
    for k in range(int(pieces[0].shape[0])):
        state, metrics, norm = fresh.step(state, data, (pieces[0][k], pieces[1][k]))
        losses.append(float(metrics["loss"]))
        norms.append(float(norm))
    said = {name: float(part) for name, part in report.metrics.items()}
    phases.append(minibatch_losses(fresh.config, losses, np.asarray(pieces[0][0]), said))
    first = gradient_phase(fresh.config, norms[0])
    phases.append(first._replace(values={**first.values, "norms": shown(norms)}))
    phases.append(update_parameters(learning, learner, after))
    return (after, learning.update(kept, index, report.priority)), phases


def sampled(config: PQN, weight: Array) -> Phase:
    """Return the phase that shows what is learned from: every step since the last round."""
    size = int(np.asarray(weight).size)
    values: dict[str, Json] = {
        "batch_size": size, "steps": config.train_freq, "environments": config.num_envs, "epochs": config.epochs,
        "minibatches": config.minibatches, "minibatch_size": size // config.minibatches,
        "counted": float(np.asarray(weight).sum()),
    }  # fmt: skip
    return Phase("sample", values, code="return *state[0], jnp.zeros(0, jnp.int32)")


def returns_phase(config: PQN, batch: Experience, found: dict[str, np.ndarray], returns: np.ndarray) -> Phase:
    """Return the phase of the λ-returns of the first environment, the oldest step first."""
    steps, over = batch.transition, np.asarray(batch.over)[:, 0].astype(bool)
    reward, discount = np.asarray(steps.reward)[:, 0], np.asarray(steps.discount)[:, 0]
    errors = returns - found["prediction"]
    columns = {
        "reward": reward, "discount": discount, "over": over, "value": found["value"], "lambda_return": returns,
        "prediction": found["prediction"], "td_error": errors, "action": np.asarray(steps.action)[:, 0],
    }  # fmt: skip
    values: dict[str, Json] = {name: first_rows(column) for name, column in columns.items()}
    values |= {"lambda": config.lambda_, "n": int(returns.size)}
    last = bool(over[0]) or returns.size == 1
    value = term("v(s′)", "value of the next observation: max Q(s′, a)", found["value"][0])
    right: tuple[Part, ...] = (value,)
    if not last:
        decay = term("λ", "lambda_", config.lambda_)
        right = ("((1 −", decay, ") ·", value, "+", decay, "·", term("G′", "return of the next step", returns[1]), ")")
    equation: tuple[Part, ...] = (
        term("G", "λ-return of the first step", returns[0]), "=", term("r", "reward", reward[0]), "+",
        term("γ", "discount", discount[0]), "·", *right,
    )  # fmt: skip
    code = "total = r + discount * jnp.where(ended, v, (1.0 - lambda_) * v + lambda_ * following)"
    return Phase("target", values, equation, code)


def minibatch_losses(config: PQN, losses: list[float], first: np.ndarray, metrics: dict[str, float]) -> Phase:
    """Return the phase of the losses, one for each minibatch of each epoch."""
    values: dict[str, Json] = {"losses": shown(losses), "first_minibatch": first_rows(first, MOST_ROWS), **metrics}
    values["kind"] = "squared"
    equation: tuple[Part, ...] = (
        term("L", "loss: the mean over the minibatches", metrics["loss"]), "= mean",
        term("L", "loss of each minibatch", losses),
    )  # fmt: skip
    return Phase("loss", values, equation, 'return weight * jnp.square(error), jnp.abs(error), {"q": q}')
