"""JAX. Record how an agent with a network acts: what it sees, its values, the random numbers, and its choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Experience, Json, Obs, Space
from bellmax.deep.acting import make_choice
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.building import build_network
from bellmax.deep.config import DeepConfig
from bellmax.deep.pqn import PQN
from bellmax.deep.state import Carry, DeepAgent, LearnerState
from bellmax.recording.network_terms import Parts, output_parts
from bellmax.recording.window import Part, Phase, Term, first_rows, shown, term

View: TypeAlias = Callable[[LearnerState, Carry, Obs, Array, "Array | np.int32"], Parts]
ACT = "action = epsilon_greedy(network(state.params, None)(state.obs).mean(), config.exploration_final_eps, act_key)"
STEP = "env, next_obs, reward, terminated, truncated = world.step(state.env, action, env_key)"
RESET = "env, obs = jax.tree.map(lambda new, old: jnp.where(over, new, old), world.reset(reset_key), (env, next_obs))"


def is_known(config: DeepConfig) -> bool:
    """Return whether the agent is made by bellmax from the settings, and not by a `make` of your own."""
    return type(config).make in (ReplayAlgorithm.make, PQN.make)


def make_view(config: DeepConfig, agent: DeepAgent, space: Space, n_actions: int, steps: int) -> View:
    """Compile `view(learner, carry [N], obs [N], keys [N], t)`: what actions are chosen by, by name, each [N, ...]."""
    if not is_known(config):

        def values(learner: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array) -> Parts:
            return {"q": agent.q_values(learner, carry, obs)[0]}

        return jax.jit(jax.vmap(values, (None, 0, 0, 0, None)))
    method = config.method()
    _, choose = make_choice(config, method, build_network(config, method, space, n_actions).network, steps)

    def view(learner: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array) -> Parts:
        choice, _ = choose(learner, carry, obs, key, t)
        found = {"q": choice.q, **output_parts(choice.output)}
        if config.exploration == "boltzmann":
            found["policy"] = jax.nn.softmax(choice.q / jnp.float32(config.temperature))
        else:
            found |= {
                "epsilon": jnp.asarray(choice.epsilon, jnp.float32),
                "draws": jax.random.uniform(choice.key, (2,)),
            }
        if method.n_members:
            found["member"] = carry.member
        return found

    return jax.jit(jax.vmap(view, (None, 0, 0, 0, None)))


def choose_phase(config: DeepConfig, found: Parts, actions: np.ndarray) -> Phase:
    """Return the phase in which the first environment's action was chosen; the others are listed."""
    first = {name: np.asarray(value)[0] for name, value in found.items()}
    q, action = first["q"], int(actions[0])
    best = int(np.argmax(q))
    values: dict[str, Json] = {"q": shown(q), "greedy_action": best, "action": action}
    values |= {name: whole(part) for name, part in first.items() if name not in ("q", "draws", "epsilon")}
    if actions.size > 1:
        values |= {"environments": int(actions.size), "actions": first_rows(actions)}
    a, row = term("a", "action", action), term("Q(s, ·)", "values", q[np.isfinite(q)])
    if "draws" not in first:
        values["explored"] = action != best
        equation: tuple[Part, ...] = (a, "= argmax", row) if "policy" not in first else (
            a, "~ softmax(", row, "/", term("τ", "temperature", config.temperature), ")"
        )  # fmt: skip
        return Phase("choose", values, equation, ACT)
    coin, epsilon = float(first["draws"][0]), float(first["epsilon"])
    explored = coin < epsilon
    values |= {"epsilon": epsilon, "coin": coin, "second_draw": float(first["draws"][1]), "explored": explored}
    why: tuple[str | Term, ...] = (
        term("coin", "random number", coin), "<" if explored else "≥", term("ε", "exploration", epsilon)
    )  # fmt: skip
    rest: tuple[str | Term, ...] = ("= random, as",) if explored else ("= argmax", row, ", as")
    return Phase("choose", values, (a, *rest, *why), ACT)


def whole(array: object) -> Json:
    """Return all numbers of an array that belongs to one observation: a distribution is not cut."""
    numbers: Json = np.asarray(array).tolist()
    return numbers


def step_phase(experience: Experience, terminated: bool, score: float, *, n: int = 1) -> Phase:
    """Return the phase that shows what the first of `n` environments returned; `score` is its return so far."""
    step, over = experience.transition, bool(np.asarray(experience.over)[0])
    values: dict[str, Json] = {
        "action": first_rows(step.action, 1)[0], "reward": first_rows(step.reward, 1)[0],
        "next_obs": first_rows(step.next_obs, 1)[0], "discount": first_rows(step.discount, 1)[0],
        "terminated": terminated, "truncated": over and not terminated, "episode_return": score,
    }  # fmt: skip
    if n > 1:
        values |= {"environments": n, "rewards": first_rows(step.reward), "ended": first_rows(experience.over)}
    return Phase("step", values, code=STEP)


def end_phase(score: float, length: int, obs: object) -> Phase:
    """Return the phase in which the episode of the first environment ended, and the next one began with `obs` [N]."""
    values: dict[str, Json] = {"episode_return": score, "episode_length": length, "obs": first_rows(obs, 1)[0]}
    return Phase("reset", values, code=RESET)
