"""JAX. Parallelised Q-network: Gallici et al. (2024), "Simplifying deep temporal difference learning".

    L(θ) = E [(G^λ - Q(s, a; θ))²],  G^λ = r + γ ((1 - λ) max_b Q(s', b; θ) + λ G'^λ)

over a fresh batch of `train_freq` steps of `num_envs` worlds, learnt from `epochs` times in `minibatches` shuffled
parts: algorithm 1.

Differs from DQN in: no replay memory and no target network; λ-returns; many worlds; layer normalisation is essential.
λ-returns are not corrected for exploring actions (Peng's, as in the paper): biased as long as it explores.
Differs from the paper in: RAdam with its step size falling to 0; a truncated episode bootstraps from its final
observation; the policy is an average of the parameters (`weight_averaging=False`: the last ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from bellmax import bellman
from bellmax.agent_config import setting, with_default
from bellmax.contracts import Agent, Array, Experience, Memory, Space
from bellmax.deep.acting import make_actor, remembered
from bellmax.deep.config import DeepConfig
from bellmax.deep.learner import Learned, LearnerState, actor, make_experience, make_network
from bellmax.deep.optimiser import averaged, make_optimiser
from bellmax.deep.targets import mask_of
from bellmax.replay.memory import rollout


@dataclass(frozen=True, kw_only=True)
class PQN(DeepConfig):
    """PQN: a normalised network and λ-returns on fresh steps of many worlds. Gallici et al. (2024)."""

    name: ClassVar[str] = "pqn"
    recurrent_cells: ClassVar[bool] = False

    optimizer: str = with_default(DeepConfig, "optimizer", "radam")
    num_envs: int = with_default(DeepConfig, "num_envs", 64)
    train_freq: int = with_default(DeepConfig, "train_freq", 16)
    learning_starts: int = with_default(DeepConfig, "learning_starts", 0)
    learning_rate: float = with_default(DeepConfig, "learning_rate", 1e-3)
    exploration_fraction: float = with_default(DeepConfig, "exploration_fraction", 0.5)
    lambda_: float = setting(0.85, "λ of the returns", low=0.0, high=1.0)
    epochs: int = setting(4, "times that a batch is learned from", low=1)
    minibatches: int = setting(4, "parts of a batch, with a gradient step each", low=1)

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        problems = super().conflicts()
        if self.num_envs * self.train_freq % self.minibatches:
            problems.append(
                f"a batch of num_envs={self.num_envs} times train_freq={self.train_freq} steps "
                f"does not divide into minibatches={self.minibatches}"
            )
        if self.gradient_steps != 1:
            problems.append("the gradient steps of a round are epochs times minibatches: leave gradient_steps at 1")
        return problems

    def updates(self, steps: int) -> float:
        """Gradient steps in a run of `steps` environment steps."""
        return super().updates(steps) * self.epochs * self.minibatches

    def make_memory(self, example: Experience, steps: int) -> Memory:
        """The steps since the last round."""
        return rollout(example, self.train_freq, self.num_envs)

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        optimiser = make_optimiser(self, steps)
        fresh, network, name, watch = make_network(self, space, n_actions)
        begin, act, q_values = make_actor(self, values, network, space, steps)

        def init(key: Array) -> LearnerState:
            params = fresh(key)
            average = jax.tree.map(jnp.copy, params) if self.weight_averaging else ()
            return LearnerState(params, (), average, optimiser.init(params), jnp.int32(0))

        def learn(state: LearnerState, batch: tuple[Any, Array], key: Array) -> tuple[LearnerState, Learned]:
            experience, weight = batch
            shuffle, noise = jax.random.split(key)
            steps_ = experience.transition
            state = state._replace(params=watch(state.params, state.params, steps_.obs))
            targets = returns(self, network(state.params, None), experience)
            data = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (steps_.obs, steps_.action, targets, weight))

            def loss(params: Any, part: Any, noise: Array) -> tuple[Array, dict[str, Array]]:
                net = network(params, noise)
                obs, action, target, w = part
                q = jax.vmap(bellman.value_of)(jax.vmap(net)(obs), action)
                mean = jnp.mean(w * jnp.square(target - q))
                return mean, {"loss": mean, "q": jnp.mean(q)}

            def step(state: LearnerState, now: tuple[Array, Array]) -> tuple[LearnerState, dict[str, Array]]:
                part = jax.tree.map(lambda x: x[now[0]], data)
                gradient, metrics = jax.grad(loss, has_aux=True)(state.params, part, now[1])
                change, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
                params, updates = optax.apply_updates(state.params, change), state.updates + 1
                average = averaged(state.average, params, updates) if self.weight_averaging else ()
                return LearnerState(params, (), average, optimiser_state, updates), metrics

            size = weight.size
            orders = jnp.argsort(jax.random.uniform(shuffle, (self.epochs, size)), axis=1)  # sooner than permutation
            parts = orders.reshape(self.epochs * self.minibatches, -1)
            state, metrics = jax.lax.scan(step, state, (parts, jax.random.split(noise, parts.shape[0])))
            metrics = {**jax.tree.map(jnp.mean, metrics), "max_reward": jnp.max(jnp.abs(steps_.reward * weight))}
            return state, Learned(jnp.zeros(0), metrics)

        memory = self.shaped(self.make_memory(make_experience(self, space), steps))
        return Agent(
            init, begin, act, remembered, learn, q_values, actor, name, memory, lambda x, mask: values(x, self, mask)
        )


def values(output: Array, config: PQN, mask: Array | None) -> Array:
    """Q [A] of an output [A]."""
    return bellman.legal(output, mask)


def returns(config: PQN, net: Any, experience: Experience) -> Array:
    """The λ-returns [T, N] of fresh experience [T, N]."""
    steps = experience.transition

    def value(obs: Any) -> Array:
        return jnp.max(bellman.legal(net(obs), mask_of(obs)))

    v_t = jax.vmap(jax.vmap(value))(steps.next_obs)
    back = jax.vmap(bellman.lambda_returns, (1, 1, 1, 1, None), 1)
    return back(steps.reward, steps.discount, v_t, experience.over.astype(bool), config.lambda_)
