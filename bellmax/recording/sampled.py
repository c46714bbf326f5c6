"""JAX. What a replay buffer stores and samples: slots with their ages, priorities, probabilities and weights."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from bellmax.contracts import Array, Batch, Experience, Json
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.recording.window import MOST_ROWS, Part, Phase, first_rows, term
from bellmax.replay.frames import FrameState
from bellmax.replay.memory import ReplayState
from bellmax.replay.prioritized import Priorities
from bellmax.trees import tree_map

WHOLE_BATCH = 1_024  # rows of a batch whose ages, priorities and weights are recorded, for their distribution
Buffer: TypeAlias = ReplayState[Any] | FrameState[Any]
SAMPLE = "batch, weight, _ = memory.sample(state.memory, sample_key, state.updates)"
STORE = "stored = memory.add(state.memory, jax.tree.map(lambda x: x[None], Experience(step, over.astype(jnp.int32))))"


def ages_of(memory: Buffer, index: np.ndarray, capacity: int) -> np.ndarray:
    """Return how many steps of its environment came after each slot [B]: 0 for the newest."""
    position = np.asarray(memory.ring.position)
    n = position.size
    age: np.ndarray = np.mod(position[index % n] - index // n - 1, capacity // n)
    return age


def leaves_of_tree(memory: Buffer, index: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return (p^α of each slot [B], the sum of all); None if the memory has no priorities."""
    priorities: object = memory.sampler
    if not isinstance(priorities, Priorities):
        return None
    leaves = np.asarray(priorities.levels[-1])
    return leaves[index], float(np.asarray(priorities.levels[0]).sum(dtype=np.float32))


def capacity_of(config: ReplayConfig) -> int:
    """Return the slots of the replay buffer: a multiple of the number of environments."""
    return config.buffer_size // config.num_envs * config.num_envs


def sampled_phase(
    config: DeepConfig, steps: int, memory: object, batch: Batch, weight: Array, index: Array, more: dict[str, Json]
) -> Phase:
    """Return the phase in which a batch is drawn; `more` are further values, `steps` those of the run."""
    if not isinstance(config, ReplayConfig) or not isinstance(memory, ReplayState | FrameState):
        return Phase("sample", {"batch_size": int(np.asarray(weight).size), **more}, code="return *state[0]")
    slots, filled = np.asarray(index), int(np.asarray(memory.ring.size).sum())
    rows = batch.transition if isinstance(batch, Experience) else batch
    whole: dict[str, object] = {"age": ages_of(memory, slots, capacity_of(config)), "weight": weight}
    values: dict[str, Json] = {
        **more, "batch_size": slots.size, "filled": filled, "capacity": capacity_of(config), "index": first_rows(slots),
        "age": first_rows(whole["age"]), "weight": first_rows(weight),
    }  # fmt: skip
    equation: tuple[Part, ...] = ()
    tree = leaves_of_tree(memory, slots)
    if tree is None:
        window = config.window if isinstance(batch, Experience) else 1
        starts = int(np.maximum(np.asarray(memory.ring.size) - (window - 1), 0).sum())
        values["probability"] = [1.0 / starts] * min(slots.size, MOST_ROWS)
        equation = (term("P", "probability of each slot", 1.0 / starts), "= 1 /", term("n", "slots", starts))
    else:
        leaf, total = tree
        share = leaf / np.float32(total)
        whole |= {"priority": leaf, "probability": share}
        values |= {"priority": first_rows(leaf), "priority_total": total, "probability": first_rows(share)}
        values["beta"] = beta_at(config, memory, steps)
        equation = (
            term("P(i)", "probability of the first slot", share[0]), "=", term("pᵅ", "its priority", leaf[0]), "/",
            term("Σ pᵅ", "sum of all priorities", total),
        )  # fmt: skip
    if slots.size > MOST_ROWS:
        values["whole_batch"] = {name: first_rows(column, WHOLE_BATCH) for name, column in whole.items()}
    if isinstance(batch, Experience):
        values |= {"sequence_length": config.sequence_length, "burn_in": config.burn_in}
        rows = tree_map(lambda x: x[0], rows)
    values |= {
        "obs": first_rows(rows.obs), "action": first_rows(rows.action), "reward": first_rows(rows.reward),
        "discount": first_rows(rows.discount), "next_obs": first_rows(rows.next_obs),
    }  # fmt: skip
    return Phase("sample", values, equation, SAMPLE)


def beta_at(config: ReplayConfig, memory: Buffer, steps: int) -> float:
    """Return the exponent of the importance weights, which moves over the `steps` of the run."""
    progress = min(int(memory.sampler.added) / steps, 1.0)
    return config.priority_beta + (config.priority_beta_final - config.priority_beta) * progress


def stored_priorities(config: DeepConfig, memory: object, index: Array, priority: Array) -> list[Phase]:
    """Return the phase in which the sampled slots get new priorities; [] of a memory without priorities."""
    slots = np.asarray(index)
    if not isinstance(memory, ReplayState | FrameState) or not isinstance(config, ReplayConfig):
        return []
    tree = leaves_of_tree(memory, slots)
    if tree is None:
        return []
    error, leaf = np.asarray(priority), tree[0]
    values: dict[str, Json] = {
        "index": first_rows(slots), "error": first_rows(error), "priority": first_rows(leaf),
        "largest": float(memory.sampler.largest), "alpha": config.priority_alpha, "epsilon": config.priority_epsilon,
    }  # fmt: skip
    equation: tuple[Part, ...] = (
        term("pᵅ", "priority of the first slot", leaf[0]), "= (", term("|δ|", "size of its error", error[0]), "+",
        term("ε", "priority_epsilon", config.priority_epsilon), ") ^",
        term("α", "priority_alpha", config.priority_alpha),
    )  # fmt: skip
    return [Phase("priorities", values, equation, "powered = (priority + epsilon) ** alpha")]


def store_phase_of(
    config: DeepConfig, before: object, after: object, experience: Experience, valid: np.ndarray | None = None
) -> Phase:
    """Return the phase in which a memory stores one step of every environment; the first one is shown."""
    step = experience.transition
    values: dict[str, Json] = {
        "obs": first_rows(step.obs, 1)[0], "action": first_rows(step.action, 1)[0],
        "reward": first_rows(step.reward, 1)[0], "discount": first_rows(step.discount, 1)[0],
        "next_obs": first_rows(step.next_obs, 1)[0],
        "over": bool(np.asarray(experience.over)[0]),
    }  # fmt: skip
    if config.reward_scale != 1.0 or config.reward_clip:
        scaled = np.asarray(step.reward)[0] * np.float32(config.reward_scale)
        limit = config.reward_clip or np.inf
        values["stored_reward"] = float(np.clip(scaled, -limit, limit))
    if valid is not None and not np.asarray(valid)[0]:
        return Phase("store", {"stored": False, "why": "the environment reset itself or was recreated"})
    if (
        isinstance(config, ReplayConfig)
        and isinstance(before, ReplayState | FrameState)
        and isinstance(after, ReplayState | FrameState)
    ):
        index = int(np.asarray(before.ring.position)[0]) * config.num_envs
        values |= {
            "index": index, "size": int(np.asarray(after.ring.size).sum()), "capacity": capacity_of(config),
        }  # fmt: skip
        tree = leaves_of_tree(after, np.array([index]))
        if tree is not None:
            values["priority"] = float(tree[0][0])
    elif isinstance(before, tuple) and len(before) == 2:  # a rollout
        values |= {"index": int(np.asarray(before[1])), "size": config.train_freq}
    return Phase("store", values, code=STORE)
