"""JAX. Parallelized Q-network: Gallici et al. (2024), "Simplifying deep temporal difference learning".

    L(θ) = E [(G^λ - Q(s, a; θ))²],  G^λ = r + γ ((1 - λ) max_b Q(s', b; θ) + λ G'^λ)

over a fresh batch of `train_freq` steps of `num_envs` environments, learned from `epochs` times in `minibatches`
shuffled parts: algorithm 1.

Differs from DQN in: no replay buffer and no target network; λ-returns; many environments; layer normalization is
essential. The λ-returns are not corrected for exploratory actions (Peng's, as in the paper), so they are biased while
the agent explores.
Differs from the paper in: RAdam with a learning rate that falls to 0; a truncated episode bootstraps from its final
observation; the policy is an average of the parameters (with `weight_averaging=False` the last ones).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.agent_config import setting, with_default
from bellmax.contracts import Agent, Array, Batch, Experience, LearnReport, Obs, Space, Transition
from bellmax.deep.acting import make_actor
from bellmax.deep.building import Built, build_network, make_experience
from bellmax.deep.config import DeepConfig
from bellmax.deep.dqn import ActionValues
from bellmax.deep.following import chained
from bellmax.deep.learner import averaging, namer, running, starter, stepped
from bellmax.deep.memories import shaped
from bellmax.deep.method import Method, Metrics, Net, allowed, mask_of
from bellmax.deep.optimizer import make_optimizer
from bellmax.deep.resets import moments
from bellmax.deep.standardizing import as_rows
from bellmax.deep.state import DeepAgent, LearnerState, actor, remembered
from bellmax.deep.targets import SAME
from bellmax.networks.packing import Params
from bellmax.replay.rollout import make_rollout
from bellmax.trees import tree_map

Data: TypeAlias = tuple[Transition, Array]  # transitions and their weights [T N]
Piece: TypeAlias = tuple[Array, Array]  # which of them a gradient step learns from [T N / minibatches], and its key


@dataclass(frozen=True, kw_only=True)
class PQN(DeepConfig):
    """PQN: a normalized network and λ-returns on fresh steps of many environments. Gallici et al. (2024)."""

    name: ClassVar[str] = "pqn"
    recurrent_cells: ClassVar[bool] = False

    optimizer: str = with_default(DeepConfig, "optimizer", "radam")
    num_envs: int = with_default(DeepConfig, "num_envs", 64)
    train_freq: int = with_default(DeepConfig, "train_freq", 16)
    learning_starts: int = with_default(DeepConfig, "learning_starts", 0)
    learning_rate: float = with_default(DeepConfig, "learning_rate", 1e-3)
    exploration_fraction: float = with_default(DeepConfig, "exploration_fraction", 0.5)
    lambda_: float = setting(0.85, "λ of the returns", low=0.0, high=1.0, group="returns")
    epochs: int = setting(4, "passes over each batch", low=1, high=10_000, group="pace")
    minibatches: int = setting(4, "parts of a batch, with one gradient step each", low=1, group="pace")

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        problems = super().conflicts()
        if self.num_envs * self.train_freq % self.minibatches:
            problems.append(
                f"num_envs={self.num_envs} times train_freq={self.train_freq} steps do not divide into "
                f"minibatches={self.minibatches}; choose a divisor of {self.num_envs * self.train_freq}"
            )
        if self.gradient_steps != 1:
            problems.append("a round has epochs times minibatches gradient steps; leave gradient_steps at 1")
        return problems

    def updates(self, steps: int) -> float:
        """Return the number of gradient steps in a run of `steps` environment steps."""
        return super().updates(steps) * self.epochs * self.minibatches

    def method(self) -> Method[Array, ActionValues]:
        """Return the method: the network returns the value of each action, learned from the λ-returns of a batch."""

        def loss(
            net: Net[ActionValues], target_net: Net[ActionValues], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority |error| and metrics of ONE transition, whose reward is its λ-return."""
            del target_net, draws
            q = bellman.value_of(net(transition.obs).numbers, transition.action)
            error = transition.reward - q
            return weight * jnp.square(error), jnp.abs(error), {"q": q}

        return Method(lambda numbers: ActionValues(numbers, SAME), loss)

    def make(self, space: Space, n_actions: int, steps: int) -> DeepAgent:
        """Return the agent for these spaces, in a run of `steps` environment steps."""
        method = self.method()
        built = build_network(self, method, space, n_actions)
        init, prepare, step = learning_parts(self, built, space, steps)

        def learn(state: LearnerState, batch: tuple[Batch, Array], key: Array) -> tuple[LearnerState, LearnReport]:
            experience, weight = batch
            if not isinstance(experience, Experience):
                raise TypeError(f"PQN learns from the experience of a rollout; got {type(experience).__name__}")
            state, data, pieces = prepare(state, experience, weight, key)
            state, metrics = jax.lax.scan(lambda state, piece: step(state, data, piece)[:2], state, pieces)
            rewards = experience.transition.reward
            metrics = {**jax.tree.map(jnp.mean, metrics), "max_reward": jnp.max(jnp.abs(rewards * weight))}
            return state, LearnReport(jnp.zeros(0), metrics)

        begin, act, q_values = make_actor(self, method, built.network, space, steps)
        memory = shaped(self, make_rollout(make_experience(self, space), self.train_freq, self.num_envs))
        return Agent(
            init, begin, act, remembered, learn, q_values, actor, namer(self, built), memory,
            lambda numbers, mask: method.values(method.output(numbers), mask),
        )  # fmt: skip


class LearningParts(NamedTuple):
    """The parts of a round of learning.

    Attributes:
        init: `init(key) -> state`.
        prepare: `prepare(state, experience [T, N], weight [T, N], key) -> (state, data, pieces)`: transitions [T N]
            with their λ-returns in place of rewards, and their weights; for each gradient step, which of them it learns
            from, and its key.
        step: `step(state, data, piece) -> (state, metrics, gradient)`, one gradient step.
    """

    init: Callable[[Array], LearnerState]
    prepare: Callable[[LearnerState, Experience, Array, Array], tuple[LearnerState, Data, Piece]]
    step: Callable[[LearnerState, Data, Piece], tuple[LearnerState, Metrics, Params]]


def learning_parts(config: PQN, built: Built[Any], space: Space, steps: int) -> LearningParts:
    """Return the parts of a round of learning, in a run of `steps` environment steps."""
    method, optimizer = config.method(), make_optimizer(config, steps)
    observed, parts = running(config, built), {**averaging(config), "optimizer": moments(optimizer)}
    before, follow = chained(**observed), chained(**parts)  # before a batch is learned from, and after each gradient

    def prepare(
        state: LearnerState, experience: Experience, weight: Array, key: Array
    ) -> tuple[LearnerState, Data, Piece]:
        shuffle, noise = jax.random.split(key)
        fresh = experience.transition
        states, params = before.update(state.following, state.params, state.updates, key, as_rows(fresh.obs, space))
        state = state._replace(params=params, following=states)
        returned = fresh._replace(reward=returns(config, built.network(state.params, None), experience))
        data = tree_map(lambda x: x.reshape(-1, *x.shape[2:]), (returned, weight))
        size = weight.size
        orders = jnp.argsort(jax.random.uniform(shuffle, (config.epochs, size)), axis=1)  # faster than permutation
        pieces = orders.reshape(config.epochs * config.minibatches, -1)
        return state, data, (pieces, jax.random.split(noise, pieces.shape[0]))

    def part_loss(params: Params, part: tuple[Transition, Array], noise: Array) -> tuple[Array, Metrics]:
        net = built.network(params, noise)
        losses: Any = jax.vmap(lambda step, w: method.loss(net, net, step, w, jnp.zeros(0)))
        loss, _, metrics = losses(*part)
        mean = jnp.mean(loss)
        return mean, {"loss": mean, "q": jnp.mean(metrics["q"])}

    def step(state: LearnerState, data: Data, now: Piece) -> tuple[LearnerState, Metrics, Params]:
        part = tree_map(lambda x: x[now[0]], data)
        gradient, metrics = jax.grad(part_loss, has_aux=True)(state.params, part, now[1])
        return stepped(state, gradient, optimizer, follow, now[1], part[0].obs), metrics, gradient

    return LearningParts(starter(built, chained(**observed, **parts)), prepare, step)


def returns(config: PQN, net: Net[ActionValues], experience: Experience) -> Array:
    """Return the λ-returns [T, N] of fresh experience [T, N]."""
    steps = experience.transition

    def value(obs: Obs) -> Array:
        return jnp.max(allowed(net(obs), mask_of(obs)))

    v_t = jax.vmap(jax.vmap(value))(steps.next_obs)
    back = jax.vmap(bellman.lambda_returns, (1, 1, 1, 1, None), 1)
    return back(steps.reward, steps.discount, v_t, experience.over.astype(bool), config.lambda_)
